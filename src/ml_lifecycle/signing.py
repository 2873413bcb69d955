"""Signatures over a model's folder: OpenSSF model signing with a pair of keys.

The pair lies outside Git, in ``.keys``; MODEL_SIGNING_KEY and MODEL_VERIFYING_KEYS name others.
``python -m ml_lifecycle.signing FOLDER`` makes one.
"""

import argparse
import ast
import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ml_lifecycle.errors import LifecycleError

SIGNATURE = "model.sig"
#: MLflow writes it into a folder of files when it loads a version from there.
NOT_SIGNED = (SIGNATURE, "registered_model_meta")
PRIVATE, PUBLIC = "signing.key", "signing.pub"
SIGNING_KEY, VERIFYING_KEYS = "MODEL_SIGNING_KEY", "MODEL_VERIFYING_KEYS"
_PEM = "-----BEGIN"
#: What the library tells of a changed file beside its name: two digests as Python prints bytes.
_DIGESTS = re.compile(r": Expected .*", re.DOTALL)


class SignatureError(LifecycleError):
    """A model that is not signed, not by a trusted key, or not as it was signed."""


class ChangedError(SignatureError):
    """A folder of which a file was changed, added or removed after it was signed."""


class MissingKeyError(SignatureError):
    """There is no key to sign or to verify with."""


@dataclass(frozen=True)
class Keys:
    """Where the keys are: a folder for a pair of one's own, unless the environment names other ones.

    ``create``: a pair for development is made when the folder has none and the environment names none.
    """

    folder: Path
    create: bool = False

    @contextlib.contextmanager
    def private(self) -> Iterator[Path]:
        """The file with the private key; MODEL_SIGNING_KEY may be its path, or hold the key as CI's secrets do.

        Raises:
            MissingKeyError: there is none.
        """
        named = os.environ.get(SIGNING_KEY, "")
        if _PEM in named:
            with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:  # readable by its owner only
                file.write(named.replace("\\n", "\n"))
                file.flush()
                yield Path(file.name)
            return
        path = Path(named) if named else self.folder / PRIVATE
        if not named and self.create and not (path.exists() and (self.folder / PUBLIC).exists()):
            make(self.folder)
        if not _is_file(path):
            where = f"the file that {SIGNING_KEY} names" if named else path  # which may be a key without its first line
            alone = (self.folder / PUBLIC).exists()
            beside = f", once {PUBLIC} of another pair is moved out of {self.folder}" if alone else ""
            raise MissingKeyError(
                f"There is no key to sign with: {where} does not exist. Make a pair for development with `make keys`"
                f"{beside}, or let {SIGNING_KEY} name the file of your team's key (or hold it)."
            )
        yield path

    def public(self) -> list[Path]:
        """The files with the public keys that are trusted; MODEL_VERIFYING_KEYS may name several.

        Raises:
            MissingKeyError: there is none, or one that is named is not there.
        """
        named = os.environ.get(VERIFYING_KEYS, "")
        paths = [Path(name) for name in named.split(os.pathsep) if name] or [self.folder / PUBLIC]
        if missing := [str(path) for path in paths if not _is_file(path)]:
            raise MissingKeyError(
                f"There is no key to verify signatures with: {', '.join(missing)} does not exist. Make a pair for "
                f"development with `make keys`, or let {VERIFYING_KEYS} name the file of your team's public key, "
                f"several of them with '{os.pathsep}' between."
            )
        return paths


def _is_file(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):  # too long for a path, or not one at all
        return path.is_file()
    return False


def make(folder: Path) -> bool:
    """Make a pair of keys (ECDSA, P-256) in a folder; what is there stays, and a lost public key is made again.

    Returns:
        Whether the private key is new.

    Raises:
        MissingKeyError: what is there is no private key.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private, public = folder / PRIVATE, folder / PUBLIC
    if public.exists():  # perhaps of a team: what it has signed must stay trusted
        return False
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    is_new = _place(private, content)
    half = _public_half(private)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        file.write(half)
    Path(file.name).replace(public)  # whole or not at all
    return is_new


def _place(path: Path, content: bytes) -> bool:
    """Make a file that its owner alone may read, whole or not at all; one that is there stays."""
    with tempfile.NamedTemporaryFile(dir=path.parent) as file:
        file.write(content)
        file.flush()
        try:
            os.link(file.name, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            return _create(path, content)
    return True


def _create(path: Path, content: bytes) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return True


def _public_half(private: Path) -> bytes:
    from cryptography.hazmat.primitives import serialization

    _signer(private)
    public = serialization.load_pem_private_key(private.read_bytes(), None).public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _signer(private_key: Path) -> Any:
    """What signs with a key.

    Raises:
        MissingKeyError: the file holds no private key on a curve of NIST.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from model_signing import signing

    try:
        return signing.Config().use_elliptic_key_signer(private_key=private_key)
    except (OSError, ValueError, TypeError, AttributeError, UnsupportedAlgorithm):
        raise MissingKeyError(
            f"{private_key} holds no private key that can sign. Allowed: a PEM file without a password, on the curve "
            "P-256, P-384 or P-521, as `make keys` makes it."
        ) from None


def sign(folder: Path, private_key: Path) -> None:
    """Sign every file of a model's folder; the signature is ``model.sig`` in it.

    Raises:
        MissingKeyError: the file holds no private key on a curve of NIST.
        SignatureError: there is a link in the folder.
    """
    from model_signing import hashing

    signature, config = folder / SIGNATURE, _signer(private_key)
    if links := _links(folder):
        raise SignatureError(f"it cannot be signed: {links} is a link, and what it leads to may change")
    files = hashing.Config().set_ignored_paths(paths=[Path(name) for name in NOT_SIGNED], ignore_git_paths=False)
    signature.unlink(missing_ok=True)
    config.set_hashing_config(files).sign(folder, signature)


def _links(folder: Path) -> str:
    return ", ".join(sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink()))


def verify(folder: Path, public_keys: list[Path]) -> Path:
    """See that a folder is, file by file, what one of the trusted keys signed.

    Returns:
        The public key that fits.

    Raises:
        MissingKeyError: a file holds no public key.
        SignatureError: it is not signed, not by one of the keys, or a file was changed, added or removed.
    """
    signature = folder / SIGNATURE
    if not signature.is_file():
        raise SignatureError("it is not signed")
    if links := _links(folder):
        raise ChangedError(f"it is not what was signed: {links} is a link")
    for key in public_keys:
        if _is_signed_by(folder, signature, key):
            return key
    raise SignatureError("it is signed by a key that is not trusted, or its signature is damaged")


def _is_signed_by(folder: Path, signature: Path, public_key: Path) -> bool:
    from model_signing import hashing, verifying

    files = hashing.Config().set_ignored_paths(paths=[Path(name) for name in NOT_SIGNED], ignore_git_paths=False)
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except Exception:  # noqa: BLE001 - whatever the key's bytes make the parsers raise
        raise MissingKeyError(
            f"{public_key} holds no public key to verify signatures with. Allowed: a PEM file on the curve P-256, "
            "P-384 or P-521, as `make keys` makes it."
        ) from None
    try:
        config.set_hashing_config(files).verify(folder, signature)
    except Exception as error:  # noqa: BLE001 - whatever the signature's bytes make the parsers raise
        if "Signature mismatch" not in str(error):
            return False
        differences = ast.literal_eval(str(error).partition(": ")[2])
        told = "; ".join(_DIGESTS.sub("", difference) for difference in differences)
        raise ChangedError(f"it is not what was signed: {told}") from None
    return True


def main() -> None:
    """Make a pair of keys in the folder given on the command line; what is there stays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    try:
        done = "made" if make(folder) else "kept"
    except MissingKeyError as error:
        raise SystemExit(f"Error: {error.message}") from error
    private, public = folder / PRIVATE, folder / PUBLIC
    if private.exists():
        click.echo(f"{done} {private} (never share it) and {public}")
    else:
        click.echo(f"{done} {public}; it verifies, and without its private key beside it nothing is signed here")


if __name__ == "__main__":
    main()
