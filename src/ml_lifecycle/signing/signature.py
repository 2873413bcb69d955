"""Signatures over a model's folder: OpenSSF model signing with a pair of keys."""

import ast
import re
from pathlib import Path
from typing import Any

from ml_lifecycle.errors import LifecycleError

SIGNATURE = "model.sig"
#: MLflow writes it into a folder of files when it loads a version from there.
NOT_SIGNED = (SIGNATURE, "registered_model_meta")
#: What the library tells of a changed file beside its name: two digests as Python prints bytes.
_DIGESTS = re.compile(r": Expected .*", re.DOTALL)


class SignatureError(LifecycleError):
    """A model that is not signed, not by a trusted key, or not as it was signed."""


class ChangedError(SignatureError):
    """A folder of which a file was changed, added or removed after it was signed."""


class MissingKeyError(SignatureError):
    """There is no key to sign or to verify with."""


def signer(private_key: Path) -> Any:
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

    signature, config = folder / SIGNATURE, signer(private_key)
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
