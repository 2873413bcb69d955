"""Signatures over a model's folder: what they cover, and which keys count."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from ml_lifecycle.signing.keys import PRIVATE, PUBLIC, make_pair
from ml_lifecycle.signing.signature import SIGNATURE, MissingKeyError, SignatureError, sign, verify


class TestSign:
    """A signature that holds."""

    def test_is_verified(self, signed: Path, pair: Path, files: dict[str, bytes]) -> None:
        """What was signed is verified, by the key that fits, and no file was changed."""
        assert pair / PUBLIC == verify(signed, [pair / PUBLIC])
        found = {str(path.relative_to(signed)): path for path in signed.rglob("*") if path.is_file()}
        assert {*files, SIGNATURE} == set(found)
        assert files == {name: found[name].read_bytes() for name in files}

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

    def test_two_files_exchanged(self, signed: Path, pair: Path, files: dict[str, bytes]) -> None:
        """The same contents under each other's names are another folder."""
        (signed / "model.onnx").write_bytes(files["provenance.json"])
        (signed / "provenance.json").write_bytes(files["model.onnx"])
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
        make_pair(tmp_path / "third")
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
