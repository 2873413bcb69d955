"""Pairs of keys: how they are made, where they come from, and that none is given away."""

import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from ml_lifecycle.signing import keys
from ml_lifecycle.signing.keys import PRIVATE, PUBLIC, SIGNING_KEY, VERIFYING_KEYS, Keys, make_pair
from ml_lifecycle.signing.signature import MissingKeyError, sign, verify


def mode_of(path: Path) -> int:
    """Who may do what with a file."""
    return stat.S_IMODE(path.stat().st_mode)


class TestMake:
    """A pair of keys for development."""

    def test_is_the_owners_alone(self, tmp_path: Path) -> None:
        """Nobody else can read the private key, nor look into its folder; both are a pair on P-256."""
        assert make_pair(tmp_path / "a/keys")
        assert (0o700, 0o600) == (mode_of(tmp_path / "a/keys"), mode_of(tmp_path / "a/keys" / PRIVATE))
        private = serialization.load_pem_private_key((tmp_path / "a/keys" / PRIVATE).read_bytes(), None)
        public = serialization.load_pem_public_key((tmp_path / "a/keys" / PUBLIC).read_bytes())
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        assert ("secp256r1", public) == (private.curve.name, private.public_key())

    def test_is_the_owners_alone_whatever_the_mask(self, tmp_path: Path) -> None:
        """Also where new files are open to all."""
        before = os.umask(0)
        try:
            make_pair(tmp_path / "keys")
        finally:
            os.umask(before)
        assert (0o700, 0o600) == (mode_of(tmp_path / "keys"), mode_of(tmp_path / "keys" / PRIVATE))

    def test_a_pair_that_is_there_stays(self, tmp_path: Path) -> None:
        """A second call changes nothing and says so: what was signed stays verifiable."""
        made = make_pair(tmp_path)
        before = [(tmp_path / name).read_bytes() for name in (PRIVATE, PUBLIC)]
        assert (True, False) == (made, make_pair(tmp_path))
        assert before == [(tmp_path / name).read_bytes() for name in (PRIVATE, PUBLIC)]

    def test_a_public_key_alone_stays(
        self, tmp_path: Path, pair: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It may be a team's: it is not replaced, and what it is good for is said."""
        shutil.copy(pair / PUBLIC, tmp_path / PUBLIC)
        monkeypatch.setattr(sys, "argv", ["keys", str(tmp_path)])
        keys.main()
        assert [PUBLIC] == [path.name for path in tmp_path.iterdir()]
        assert (pair / PUBLIC).read_bytes() == (tmp_path / PUBLIC).read_bytes()
        assert capsys.readouterr().out.startswith(f"kept {tmp_path / PUBLIC}; it verifies, and without its private key")

    def test_a_lost_public_key_is_made_again(self, tmp_path: Path, pair: Path) -> None:
        """The private key stays, and its public half is the one that was lost."""
        shutil.copy(pair / PRIVATE, tmp_path / PRIVATE)
        assert not make_pair(tmp_path)
        assert {PRIVATE, PUBLIC} == {path.name for path in tmp_path.iterdir()}
        for name in (PRIVATE, PUBLIC):
            assert (pair / name).read_bytes() == (tmp_path / name).read_bytes()

    def test_what_is_no_private_key_stays(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is lost, and what to do is said."""
        (tmp_path / PRIVATE).write_text("no key", encoding="utf-8")
        monkeypatch.setattr(sys, "argv", ["keys", str(tmp_path)])
        with pytest.raises(SystemExit, match="holds no private key that can sign"):
            keys.main()
        assert {PRIVATE: "no key"} == {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}

    def test_a_key_that_cannot_sign_gets_no_public_half(self, tmp_path: Path) -> None:
        """Nothing could be verified with it."""
        key = ed25519.Ed25519PrivateKey.generate()
        pem, form, no = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (tmp_path / PRIVATE).write_bytes(key.private_bytes(pem, form, no))
        with pytest.raises(MissingKeyError, match="holds no private key that can sign"):
            make_pair(tmp_path)
        assert [PRIVATE] == [path.name for path in tmp_path.iterdir()]

    def test_a_link_to_a_key_that_is_away(self, tmp_path: Path) -> None:
        """A secret that is not mounted is named, and the link stays."""
        (tmp_path / PRIVATE).symlink_to(tmp_path / "away")
        with pytest.raises(MissingKeyError, match="holds no private key that can sign"):
            make_pair(tmp_path)
        assert (tmp_path / PRIVATE).is_symlink()

    def test_without_hard_links(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Some file systems have none: the pair is made all the same, and one that is there stays."""

        def refuse(*paths: str) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
        assert make_pair(tmp_path)
        assert 0o600 == mode_of(tmp_path / PRIVATE)
        before = (tmp_path / PRIVATE).read_bytes()
        (tmp_path / PUBLIC).unlink()
        assert not make_pair(tmp_path)
        assert (before, True) == ((tmp_path / PRIVATE).read_bytes(), (tmp_path / PUBLIC).exists())

    def test_two_first_runs(self, tmp_path: Path) -> None:
        """At the same time they make one pair, whose halves fit."""
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(make_pair, [tmp_path] * 8))
        assert 1 == sum(made)
        assert {PRIVATE, PUBLIC} == {path.name for path in tmp_path.iterdir()}
        private = serialization.load_pem_private_key((tmp_path / PRIVATE).read_bytes(), None)
        assert private.public_key() == serialization.load_pem_public_key((tmp_path / PUBLIC).read_bytes())

    def test_a_lost_public_key_is_made_again_before_signing(self, tmp_path: Path, pair: Path) -> None:
        """Where pairs for development make themselves."""
        shutil.copy(pair / PRIVATE, tmp_path / PRIVATE)
        with Keys(tmp_path, create=True).private():
            assert (pair / PUBLIC).read_bytes() == (tmp_path / PUBLIC).read_bytes()

    def test_a_public_key_alone_is_no_key_to_sign_with(self, tmp_path: Path, pair: Path) -> None:
        """`make keys` would keep it, so what to do first is said."""
        shutil.copy(pair / PUBLIC, tmp_path / PUBLIC)
        moved = f"once {PUBLIC} of another pair is moved out of {tmp_path}"
        with pytest.raises(MissingKeyError, match=re.escape(moved)), Keys(tmp_path, create=True).private():
            pass

    def test_pairs_differ(self, pair: Path, other: Path) -> None:
        """No two pairs are the same."""
        assert (pair / PRIVATE).read_bytes() != (other / PRIVATE).read_bytes()

    def test_as_a_command(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """`python -m ml_lifecycle.signing.keys FOLDER` makes a pair, keeps one that is there, and prints no key."""
        monkeypatch.setattr(sys, "argv", ["keys", str(tmp_path)])
        keys.main()
        keys.main()
        made, kept = capsys.readouterr().out.splitlines()
        assert f"made {tmp_path / PRIVATE} (never share it) and {tmp_path / PUBLIC}" == made
        assert kept == made.replace("made", "kept", 1)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder for temporary files, still empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


class TestPrivate:
    """Where the private key comes from."""

    def test_the_folders_own(self, pair: Path) -> None:
        """Without a word from the environment, the folder's key is used."""
        with Keys(pair).private() as key:
            assert pair / PRIVATE == key

    def test_a_path(self, pair: Path, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A path in the environment comes first."""
        monkeypatch.setenv(SIGNING_KEY, str(other / PRIVATE))
        with Keys(pair).private() as key:
            assert other / PRIVATE == key

    @pytest.mark.parametrize(
        "form",
        [
            lambda text: text,
            lambda text: text.strip(),
            lambda text: f"\n  {text}",
            lambda text: text.replace("\n", "\\n"),
            lambda text: text.replace("\n", "\r\n"),
        ],
        ids=["as it is", "without the last newline", "with space before", "on one line", "of Windows"],
    )
    def test_a_text(
        self,
        signed: Path,
        other: Path,
        temporary: Path,
        monkeypatch: pytest.MonkeyPatch,
        form: Callable[[str], str],
    ) -> None:
        """The key itself, as CI's secrets hand it on, signs; its file is the owner's alone, and gone afterwards."""
        monkeypatch.setenv(SIGNING_KEY, form((other / PRIVATE).read_text(encoding="utf-8")))
        with Keys(signed).private() as key:
            assert (temporary, 0o600) == (key.parent, mode_of(key))
            sign(signed, key)
        verify(signed, [other / PUBLIC])
        assert [] == list(temporary.iterdir())

    def test_a_text_is_gone_also_after_an_error(
        self, pair: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever happens while it is used, the key does not stay on the disk."""
        monkeypatch.setenv(SIGNING_KEY, (pair / PRIVATE).read_text(encoding="utf-8"))
        with pytest.raises(ZeroDivisionError), Keys(pair).private():
            raise ZeroDivisionError
        assert [] == list(temporary.iterdir())

    def test_none(self, tmp_path: Path) -> None:
        """Without any key, one line says which file lacks and what to do; none is made unasked."""
        with pytest.raises(MissingKeyError) as refused, Keys(tmp_path / "keys").private():
            pass
        message = refused.value.message
        assert f"{tmp_path / 'keys' / PRIVATE} does not exist" in message
        assert "`make keys`" in message
        assert SIGNING_KEY in message
        assert "\n" not in message
        assert not (tmp_path / "keys").exists()

    @pytest.mark.parametrize("create", [False, True])
    @pytest.mark.parametrize("named", ["nowhere/key.pem", "MIGHAgEAMBMG" * 15, "MIGHAgEAMBMG" * 500, "."])
    def test_a_path_to_nowhere(self, pair: Path, monkeypatch: pytest.MonkeyPatch, named: str, create: bool) -> None:
        """A name that leads nowhere is not replaced by the folder's key, nor printed: it might be a key in part."""
        monkeypatch.setenv(SIGNING_KEY, named)
        with pytest.raises(MissingKeyError) as refused, Keys(pair, create).private():
            pass
        assert f"the file that {SIGNING_KEY} names does not exist" in refused.value.message
        assert named == "." or named not in refused.value.message

    def test_create_makes_a_pair(self, signed: Path, tmp_path: Path) -> None:
        """For development, a pair is made where there is none, and used from then on."""
        keys = Keys(tmp_path / "keys", create=True)
        for _ in range(2):
            with keys.private() as key:
                sign(signed, key)
        assert tmp_path / "keys" / PUBLIC == verify(signed, keys.public())

    def test_create_makes_none_beside_a_named_one(
        self, tmp_path: Path, other: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who names a key, as path or as text, gets no second one."""
        for named in (str(other / PRIVATE), (other / PRIVATE).read_text(encoding="utf-8")):
            monkeypatch.setenv(SIGNING_KEY, named)
            with Keys(tmp_path / "keys", create=True).private():
                pass
        assert not (tmp_path / "keys").exists()

    def test_create_keeps_a_teams_public_key(self, tmp_path: Path, pair: Path) -> None:
        """Where only a public key lies, signing needs the private one; trust is not changed on the way."""
        shutil.copy(pair / PUBLIC, tmp_path / PUBLIC)
        with pytest.raises(MissingKeyError, match=PRIVATE), Keys(tmp_path, create=True).private():
            pass
        assert (pair / PUBLIC).read_bytes() == (tmp_path / PUBLIC).read_bytes()

    @pytest.mark.parametrize("form", [lambda text: text[:-60], lambda text: text.replace("MI", "XX"), str.lower])
    def test_a_damaged_text_is_not_printed(
        self, signed: Path, pair: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, form: Callable[[str], str]
    ) -> None:
        """A key that was copied badly is refused, and no line of it is in the error, nor in what led to it."""
        text = form((pair / PRIVATE).read_text(encoding="utf-8"))
        monkeypatch.setenv(SIGNING_KEY, text)
        with pytest.raises(MissingKeyError) as refused, Keys(signed).private() as key:
            sign(signed, key)
        told = [str(refused.value), repr(refused.value), str(refused.value.__cause__), refused.value.message]
        assert [] == [line for line in text.splitlines()[1:2] if any(line[:20] in told_of for told_of in told)]
        assert [] == list(temporary.iterdir())


class TestPublic:
    """Which public keys are trusted."""

    def test_the_folders_own(self, pair: Path) -> None:
        """Without a word from the environment, the folder's key is trusted."""
        assert [pair / PUBLIC] == Keys(pair).public()

    def test_named_ones(self, pair: Path, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Keys in the environment are trusted instead, in their order; empty parts count for nothing."""
        names = [str(other / PUBLIC), "", str(pair / PUBLIC), ""]
        monkeypatch.setenv(VERIFYING_KEYS, os.pathsep.join(names))
        assert [other / PUBLIC, pair / PUBLIC] == Keys(pair / "nowhere").public()

    def test_an_empty_variable_is_none(self, pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A variable that is set to nothing names nothing."""
        monkeypatch.setenv(VERIFYING_KEYS, "")
        monkeypatch.setenv(SIGNING_KEY, "")
        with Keys(pair).private() as key:
            assert ([pair / PUBLIC], pair / PRIVATE) == (Keys(pair).public(), key)

    def test_one_that_is_missing(self, pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """If one of several is missing, it is named: who trusts two keys does not mean one."""
        monkeypatch.setenv(VERIFYING_KEYS, os.pathsep.join([str(pair / PUBLIC), "nowhere.pub"]))
        with pytest.raises(MissingKeyError, match=r"signatures with: nowhere\.pub does not exist"):
            Keys(pair).public()

    @pytest.mark.parametrize("create", [False, True])
    def test_none(self, tmp_path: Path, create: bool) -> None:
        """Without any key, one line says what to do; a pair that is made now could verify nothing."""
        with pytest.raises(MissingKeyError) as refused:
            Keys(tmp_path, create).public()
        message = refused.value.message
        assert all(part in message for part in (str(tmp_path / PUBLIC), "`make keys`", VERIFYING_KEYS))
        assert "\n" not in message
        assert [] == list(tmp_path.iterdir())
