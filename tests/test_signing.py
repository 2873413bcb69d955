"""Signatures over a model's folder: what they cover, which keys count, and that no key is given away."""

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
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from ml_lifecycle import signing
from ml_lifecycle.signing import (
    PRIVATE,
    PUBLIC,
    SIGNATURE,
    SIGNING_KEY,
    VERIFYING_KEYS,
    Keys,
    MissingKeyError,
    SignatureError,
    make,
    sign,
    verify,
)

FILES = {"model.onnx": b"\0model", "provenance.json": b"{}", "empty": b"", "deep/er/file": b"deep", ".hidden": b"h"}


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name no keys in the environment."""
    for name in (SIGNING_KEY, VERIFYING_KEYS):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a pair of keys."""
    folder = tmp_path_factory.mktemp("pair")
    make(folder)
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with another pair of keys."""
    folder = tmp_path_factory.mktemp("other")
    make(folder)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Make a model's folder that is not signed."""
    folder = tmp_path / "model"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def signed(model: Path, pair: Path) -> Path:
    """Make a model's folder that is signed."""
    sign(model, pair / PRIVATE)
    return model


def mode_of(path: Path) -> int:
    """Who may do what with a file."""
    return stat.S_IMODE(path.stat().st_mode)


class TestMake:
    """A pair of keys for development."""

    def test_is_the_owners_alone(self, tmp_path: Path) -> None:
        """Nobody else can read the private key, nor look into its folder; both are a pair on P-256."""
        assert make(tmp_path / "a/keys")
        assert (0o700, 0o600) == (mode_of(tmp_path / "a/keys"), mode_of(tmp_path / "a/keys" / PRIVATE))
        private = serialization.load_pem_private_key((tmp_path / "a/keys" / PRIVATE).read_bytes(), None)
        public = serialization.load_pem_public_key((tmp_path / "a/keys" / PUBLIC).read_bytes())
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        assert ("secp256r1", public) == (private.curve.name, private.public_key())

    def test_is_the_owners_alone_whatever_the_mask(self, tmp_path: Path) -> None:
        """Also where new files are open to all."""
        before = os.umask(0)
        try:
            make(tmp_path / "keys")
        finally:
            os.umask(before)
        assert (0o700, 0o600) == (mode_of(tmp_path / "keys"), mode_of(tmp_path / "keys" / PRIVATE))

    def test_a_pair_that_is_there_stays(self, tmp_path: Path) -> None:
        """A second call changes nothing and says so: what was signed stays verifiable."""
        made = make(tmp_path)
        before = [(tmp_path / name).read_bytes() for name in (PRIVATE, PUBLIC)]
        assert (True, False) == (made, make(tmp_path))
        assert before == [(tmp_path / name).read_bytes() for name in (PRIVATE, PUBLIC)]

    def test_a_public_key_alone_stays(
        self, tmp_path: Path, pair: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It may be a team's: it is not replaced, and what it is good for is said."""
        shutil.copy(pair / PUBLIC, tmp_path / PUBLIC)
        monkeypatch.setattr(sys, "argv", ["signing", str(tmp_path)])
        signing.main()
        assert [PUBLIC] == [path.name for path in tmp_path.iterdir()]
        assert (pair / PUBLIC).read_bytes() == (tmp_path / PUBLIC).read_bytes()
        assert capsys.readouterr().out.startswith(f"kept {tmp_path / PUBLIC}; it verifies, and without its private key")

    def test_a_lost_public_key_is_made_again(self, tmp_path: Path, pair: Path) -> None:
        """The private key stays, and its public half is the one that was lost."""
        shutil.copy(pair / PRIVATE, tmp_path / PRIVATE)
        assert not make(tmp_path)
        assert {PRIVATE, PUBLIC} == {path.name for path in tmp_path.iterdir()}
        for name in (PRIVATE, PUBLIC):
            assert (pair / name).read_bytes() == (tmp_path / name).read_bytes()

    def test_what_is_no_private_key_stays(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is lost, and what to do is said."""
        (tmp_path / PRIVATE).write_text("no key", encoding="utf-8")
        monkeypatch.setattr(sys, "argv", ["signing", str(tmp_path)])
        with pytest.raises(SystemExit, match="holds no private key that can sign"):
            signing.main()
        assert {PRIVATE: "no key"} == {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}

    def test_a_key_that_cannot_sign_gets_no_public_half(self, tmp_path: Path) -> None:
        """Nothing could be verified with it."""
        key = ed25519.Ed25519PrivateKey.generate()
        pem, form, no = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (tmp_path / PRIVATE).write_bytes(key.private_bytes(pem, form, no))
        with pytest.raises(MissingKeyError, match="holds no private key that can sign"):
            make(tmp_path)
        assert [PRIVATE] == [path.name for path in tmp_path.iterdir()]

    def test_a_link_to_a_key_that_is_away(self, tmp_path: Path) -> None:
        """A secret that is not mounted is named, and the link stays."""
        (tmp_path / PRIVATE).symlink_to(tmp_path / "away")
        with pytest.raises(MissingKeyError, match="holds no private key that can sign"):
            make(tmp_path)
        assert (tmp_path / PRIVATE).is_symlink()

    def test_without_hard_links(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Some file systems have none: the pair is made all the same, and one that is there stays."""

        def refuse(*paths: str) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
        assert make(tmp_path)
        assert 0o600 == mode_of(tmp_path / PRIVATE)
        before = (tmp_path / PRIVATE).read_bytes()
        (tmp_path / PUBLIC).unlink()
        assert not make(tmp_path)
        assert (before, True) == ((tmp_path / PRIVATE).read_bytes(), (tmp_path / PUBLIC).exists())

    def test_two_first_runs(self, tmp_path: Path) -> None:
        """At the same time they make one pair, whose halves fit."""
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(make, [tmp_path] * 8))
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
        """`python -m ml_lifecycle.signing FOLDER` makes a pair, keeps one that is there, and prints no key."""
        monkeypatch.setattr(sys, "argv", ["signing", str(tmp_path)])
        signing.main()
        signing.main()
        made, kept = capsys.readouterr().out.splitlines()
        assert f"made {tmp_path / PRIVATE} (never share it) and {tmp_path / PUBLIC}" == made
        assert kept == made.replace("made", "kept", 1)


class TestSign:
    """A signature that holds."""

    def test_is_verified(self, signed: Path, pair: Path) -> None:
        """What was signed is verified, by the key that fits, and no file was changed."""
        assert pair / PUBLIC == verify(signed, [pair / PUBLIC])
        found = {str(path.relative_to(signed)): path for path in signed.rglob("*") if path.is_file()}
        assert {*FILES, SIGNATURE} == set(found)
        assert FILES == {name: found[name].read_bytes() for name in FILES}

    def test_goes_with_the_folder(self, signed: Path, pair: Path, tmp_path: Path) -> None:
        """A copy elsewhere, under another name, is verified as well."""
        shutil.copytree(signed, tmp_path / "elsewhere/artifacts")
        verify(tmp_path / "elsewhere/artifacts", [pair / PUBLIC])

    def test_from_within(self, signed: Path, pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The folder may be given as a relative path."""
        monkeypatch.chdir(signed.parent)
        verify(Path(signed.name), [pair / PUBLIC])

    def test_can_be_renewed(self, signed: Path, pair: Path, other: Path) -> None:
        """Signing again replaces the signature, also after a change, also with another key."""
        (signed / "model.onnx").write_bytes(b"new")
        sign(signed, other / PRIVATE)
        verify(signed, [other / PUBLIC])
        with pytest.raises(SignatureError, match="not trusted"):
            verify(signed, [pair / PUBLIC])

    @pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
    @pytest.mark.parametrize(
        "form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL]
    )
    def test_with_other_keys(
        self, model: Path, tmp_path: Path, curve: ec.EllipticCurve, form: serialization.PrivateFormat
    ) -> None:
        """Keys on the curves of NIST, in both forms that OpenSSL writes, can sign."""
        key = ec.generate_private_key(curve)
        sign(model, written(tmp_path / "own.key", key, form))
        verify(model, [written_public(tmp_path / "own.pub", key)])

    def test_what_mlflow_writes_beside_it_is_ignored(self, signed: Path, pair: Path) -> None:
        """MLflow notes in the folder which version it loaded; that is no change of the model."""
        (signed / "registered_model_meta").write_text("model_name: a\n", encoding="utf-8")
        verify(signed, [pair / PUBLIC])
        sign(signed, pair / PRIVATE)
        (signed / "registered_model_meta").unlink()
        verify(signed, [pair / PUBLIC])

    def test_only_there(self, signed: Path, pair: Path) -> None:
        """Files of these names elsewhere are files like others."""
        (signed / "deep/registered_model_meta").touch()
        with pytest.raises(SignatureError, match=r"Extra files.*deep/registered_model_meta"):
            verify(signed, [pair / PUBLIC])


def change(name: str) -> Callable[[Path], None]:
    """Flip a bit of a file."""

    def changed(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[-1] ^= 1
        (folder / name).write_bytes(content)

    return changed


class TestRefusal:
    """A signature that does not hold."""

    def test_unsigned(self, model: Path, pair: Path) -> None:
        """A folder without a signature is not taken for a signed one."""
        with pytest.raises(SignatureError, match=r"^it is not signed$"):
            verify(model, [pair / PUBLIC])

    @pytest.mark.parametrize(
        ("damage", "said"),
        [
            (change("model.onnx"), r"Hash mismatch for 'model\.onnx'"),
            (change("provenance.json"), r"Hash mismatch for 'provenance\.json'"),
            (change("deep/er/file"), "Hash mismatch for 'deep/er/file'"),
            (change(".hidden"), r"Hash mismatch for '\.hidden'"),
            (lambda folder: (folder / "empty").write_bytes(b"\n"), "Hash mismatch for 'empty'"),
            (lambda folder: (folder / "extra.py").touch(), r"Extra files found in model 'model': extra\.py"),
            (lambda folder: (folder / ".gitignore").touch(), r"Extra files.*\.gitignore"),
            (lambda folder: (folder / "model.onnx").unlink(), r"Missing files in model 'model': model\.onnx"),
            (lambda folder: shutil.rmtree(folder / "deep"), "Missing files.*deep/er/file"),
            (lambda folder: (folder / "empty").rename(folder / "full"), "Extra files.*full; Missing files.*empty"),
        ],
    )
    def test_changed_since(self, signed: Path, pair: Path, damage: Callable[[Path], None], said: str) -> None:
        """A changed, added, removed or renamed file is named, in one line."""
        damage(signed)
        with pytest.raises(SignatureError, match=f"^it is not what was signed: .*{said}") as refused:
            verify(signed, [pair / PUBLIC])
        assert "\n" not in refused.value.message

    def test_two_files_exchanged(self, signed: Path, pair: Path) -> None:
        """The same contents under each other's names are another folder."""
        (signed / "model.onnx").write_bytes(FILES["provenance.json"])
        (signed / "provenance.json").write_bytes(FILES["model.onnx"])
        with pytest.raises(SignatureError, match=r"'model\.onnx'.*'provenance\.json'"):
            verify(signed, [pair / PUBLIC])

    @pytest.mark.parametrize("target", ["model.onnx", "deep", "nowhere", "/etc/hostname"])
    def test_a_link(self, signed: Path, pair: Path, target: str) -> None:
        """A link, wherever it leads, is no file that was signed."""
        (signed / "link").symlink_to(target)
        with pytest.raises(SignatureError, match=r"^it is not what was signed: link is a link$"):
            verify(signed, [pair / PUBLIC])

    def test_a_file_replaced_by_a_link(self, signed: Path, pair: Path, tmp_path: Path) -> None:
        """A link to the very same content may lead elsewhere tomorrow."""
        (signed / "model.onnx").rename(tmp_path / "model.onnx")
        (signed / "model.onnx").symlink_to(tmp_path / "model.onnx")
        with pytest.raises(SignatureError, match=r"model\.onnx is a link"):
            verify(signed, [pair / PUBLIC])

    def test_a_link_is_not_signed(self, signed: Path, pair: Path) -> None:
        """Nor is a folder with a link signed; the old signature stays."""
        before = (signed / SIGNATURE).read_bytes()
        (signed / "deep/link").symlink_to("er")
        with pytest.raises(SignatureError, match="cannot be signed: deep/link is a link"):
            sign(signed, pair / PRIVATE)
        assert before == (signed / SIGNATURE).read_bytes()

    def test_of_another_key(self, signed: Path, other: Path) -> None:
        """A signature that nobody trusted has made is refused."""
        with pytest.raises(SignatureError, match=r"^it is signed by a key that is not trusted, or its sig"):
            verify(signed, [other / PUBLIC])

    def test_of_another_folder(self, signed: Path, pair: Path, tmp_path: Path) -> None:
        """A good signature of another model does not fit."""
        (tmp_path / "another").mkdir()
        (tmp_path / "another/model.onnx").write_bytes(b"another")
        sign(tmp_path / "another", pair / PRIVATE)
        shutil.copy(tmp_path / "another" / SIGNATURE, signed / SIGNATURE)
        with pytest.raises(SignatureError, match="it is not what was signed"):
            verify(signed, [pair / PUBLIC])

    @pytest.mark.parametrize(
        "content", [b"", b"{", b"{}", b"[]", b"null", b"\xff\0", b'{"dsseEnvelope": {}}', b"-----BEGIN"]
    )
    def test_without_content(self, signed: Path, pair: Path, content: bytes) -> None:
        """A file that is no signature is refused, whatever the parser makes of it."""
        (signed / SIGNATURE).write_bytes(content)
        with pytest.raises(SignatureError, match=r"or its signature is damaged$"):
            verify(signed, [pair / PUBLIC])

    @pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
    def test_damaged(self, signed: Path, pair: Path, share: float) -> None:
        """One letter of what was signed, or of the signature itself, is enough."""
        text = (signed / SIGNATURE).read_text(encoding="utf-8")
        start = text.index('"payload"')
        place = start + int((len(text) - start) * share)
        while not text[place].isalnum():
            place += 1
        changed = "A" if text[place] != "A" else "B"
        (signed / SIGNATURE).write_text(text[:place] + changed + text[place + 1 :], encoding="utf-8")
        with pytest.raises(SignatureError, match=r"or its signature is damaged$"):
            verify(signed, [pair / PUBLIC])

    def test_truncated(self, signed: Path, pair: Path) -> None:
        """Half a signature is none."""
        content = (signed / SIGNATURE).read_bytes()
        (signed / SIGNATURE).write_bytes(content[: len(content) // 2])
        with pytest.raises(SignatureError, match="damaged"):
            verify(signed, [pair / PUBLIC])


class TestSeveralKeys:
    """More than one key may be trusted."""

    def test_any_that_fits_counts(self, signed: Path, pair: Path, other: Path) -> None:
        """Each trusted key is tried, and the one that fits is told."""
        for keys in ([other / PUBLIC, pair / PUBLIC], [pair / PUBLIC, other / PUBLIC]):
            assert pair / PUBLIC == verify(signed, keys)

    def test_none_fits(self, signed: Path, other: Path, tmp_path: Path) -> None:
        """If none fits, the signature is refused."""
        make(tmp_path / "third")
        with pytest.raises(SignatureError, match="not trusted"):
            verify(signed, [other / PUBLIC, tmp_path / "third" / PUBLIC])

    @pytest.mark.parametrize("turned", [False, True])
    def test_a_change_is_told_whichever_comes_first(self, signed: Path, pair: Path, other: Path, turned: bool) -> None:
        """That another key does not fit does not hide that a file was changed."""
        change("model.onnx")(signed)
        keys = [pair / PUBLIC, other / PUBLIC]
        with pytest.raises(SignatureError, match=r"Hash mismatch for 'model\.onnx'"):
            verify(signed, keys[::-1] if turned else keys)

    @pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----"])
    def test_a_file_without_a_key(self, signed: Path, tmp_path: Path, content: bytes) -> None:
        """A file that holds no key is named; the signature is not blamed."""
        (tmp_path / "no.pub").write_bytes(content)
        with pytest.raises(MissingKeyError, match=r"no\.pub holds no public key.*`make keys`"):
            verify(signed, [tmp_path / "no.pub"])

    def test_a_key_of_another_kind(self, signed: Path, tmp_path: Path) -> None:
        """A public RSA key is no key to verify with."""
        key = rsa.generate_private_key(65537, 2048)
        with pytest.raises(MissingKeyError, match=r"rsa\.pub holds no public key"):
            verify(signed, [written_public(tmp_path / "rsa.pub", key)])


def written(
    path: Path,
    key: "ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey",
    form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
    password: bytes | None = None,
) -> Path:
    """Write a private key."""
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, encryption))
    return path


def written_public(path: Path, key: "ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey") -> Path:
    """Write a public key."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    return path


@pytest.mark.parametrize(
    "make_key",
    [
        lambda path: written(path, rsa.generate_private_key(65537, 2048)),
        lambda path: written(path, ed25519.Ed25519PrivateKey.generate()),
        lambda path: written(path, dsa.generate_private_key(2048)),
        lambda path: written(path, ec.generate_private_key(ec.SECP256K1())),
        lambda path: written(path, ec.generate_private_key(ec.SECP256R1()), password=b"secret"),
        lambda path: written_public(path, ec.generate_private_key(ec.SECP256R1())),
        lambda path: path.write_bytes(b"-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff\0"),
    ],
    ids=["RSA", "Ed25519", "DSA", "another curve", "password", "public", "damaged", "empty", "no text"],
)
def test_a_key_that_cannot_sign(signed: Path, tmp_path: Path, make_key: Callable[[Path], object]) -> None:
    """Another kind of key is refused in one line that says which are allowed; the old signature stays."""
    make_key(tmp_path / "own.key")
    before = (signed / SIGNATURE).read_bytes()
    with pytest.raises(MissingKeyError) as refused:
        sign(signed, tmp_path / "own.key")
    message = refused.value.message
    assert message.startswith(f"{tmp_path / 'own.key'} holds no private key that can sign. Allowed: a PEM file without")
    assert "\n" not in message
    assert "MI" not in message.replace(str(tmp_path), "")
    assert before == (signed / SIGNATURE).read_bytes()


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
