"""Pairs of keys: in ``.keys``, outside Git, unless MODEL_SIGNING_KEY and MODEL_VERIFYING_KEYS name others.

``python -m ml_lifecycle.signing.keys FOLDER`` makes one.
"""

import argparse
import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from ml_lifecycle.signing import signature
from ml_lifecycle.signing.signature import MissingKeyError

PRIVATE, PUBLIC = "signing.key", "signing.pub"
SIGNING_KEY, VERIFYING_KEYS = "MODEL_SIGNING_KEY", "MODEL_VERIFYING_KEYS"
_PEM = "-----BEGIN"


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
            make_pair(self.folder)
        if not _is_file(path):
            where = f"the file that {SIGNING_KEY} names" if named else path  # which may be a key without its first line
            alone = not named and (self.folder / PUBLIC).exists()
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


def make_pair(folder: Path) -> bool:
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
    Path(file.name).chmod(0o644)  # for everybody, such as the user of a container
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

    signature.signer(private)
    public = serialization.load_pem_private_key(private.read_bytes(), None).public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def main() -> None:
    """Make a pair of keys in the folder given on the command line; what is there stays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    try:
        done = "made" if make_pair(folder) else "kept"
    except MissingKeyError as error:
        raise SystemExit(f"Error: {error.message}") from error
    private, public = folder / PRIVATE, folder / PUBLIC
    if private.exists():
        click.echo(f"{done} {private} (never share it) and {public}")
    else:
        click.echo(f"{done} {public}; it verifies, and without its private key beside it nothing is signed here")


if __name__ == "__main__":
    main()
