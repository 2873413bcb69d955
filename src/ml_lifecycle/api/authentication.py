"""Who may ask: callers that show a key whose SHA-256 the settings name."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from http import HTTPStatus

from ml_lifecycle.api.problems import Problem

#: A browser answers this by asking its user, who gives the key as password.
CHALLENGE = [(b"www-authenticate", b'Basic realm="ml-lifecycle", charset="UTF-8", Bearer realm="ml-lifecycle"')]


class Authentication:
    """Compares the keys that callers show; keys are random, so that their digests cannot be guessed."""

    def __init__(self, key_hashes: Sequence[str]) -> None:
        self._digests = [bytes.fromhex(digest) for digest in key_hashes]

    def refuse_strangers(self, authorization: bytes, api_key: bytes) -> None:
        """Let a request pass only with a known key.

        Args:
            authorization: the header ``Authorization``: ``Bearer KEY``, or ``Basic`` with the key as password.
            api_key: the header ``X-API-Key``.

        Raises:
            Problem: 401.
        """
        shown = api_key or _key_in(authorization)
        digest = hashlib.sha256(shown).digest()
        known = False
        for one in self._digests:  # all of them, so that the time tells nothing
            known |= hmac.compare_digest(one, digest)
        if not known or not shown:
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                "A key is needed and "
                + ("the one shown is not known" if shown else "none was shown")
                + ". Send it as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'; whoever runs this service has it.",
                [],
                CHALLENGE,
            )


def _key_in(authorization: bytes) -> bytes:
    scheme, _, value = authorization.partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return b""
