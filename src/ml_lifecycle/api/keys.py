"""Makes a key for callers of the service: ``python -m ml_lifecycle.api.keys``.

The key goes to the caller; the service's setting API_KEY_HASHES gets the digest only.
"""

import hashlib
import secrets

import click


def make_key() -> tuple[str, str]:
    """Return a random key of 256 bits and its SHA-256."""
    key = secrets.token_urlsafe(32)
    return key, digest_of(key)


def digest_of(key: str) -> str:
    """SHA-256 of a key, as API_KEY_HASHES wants it."""
    return hashlib.sha256(key.encode()).hexdigest()


def main() -> None:
    """Print a new key and its digest."""
    key, digest = make_key()
    click.echo(f"key     {key}  (for the caller; it is shown only now)")
    click.echo(f"digest  {digest}  (for API_KEY_HASHES, with a comma after those that are there)")


if __name__ == "__main__":
    main()
