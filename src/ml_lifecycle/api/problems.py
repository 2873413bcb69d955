"""What is refused, and how it is told: problem details as of RFC 9457 (https://www.rfc-editor.org/rfc/rfc9457)."""

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec

MEDIA_TYPE = b"application/problem+json"
#: Characters of what a caller sent that come back to him; and of a whole refusal.
NAME, DETAIL = 100, 4000


def short(text: str, most: int = NAME) -> str:
    """Cut a text that a caller sent, and replace what is no character: halves of surrogate pairs."""
    cut = text if len(text) <= most else f"{text[:most]}…"
    return cut.encode("utf-8", "replace").decode()


@dataclass
class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """A request that is refused.

    ``errors`` name the places in the body, as ``{"path": "$[0].distance", "message": …}``; ``headers`` go with the
    answer.
    """

    status: HTTPStatus
    detail: str
    errors: list[dict[str, str]] = field(default_factory=list)
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    def __str__(self) -> str:
        """For logs."""
        return self.detail

    def told(self) -> str:
        """What was wrong, in a form that can be sent."""
        return short(self.detail, DETAIL)

    def content(self, request_id: str) -> bytes:
        """The body of the answer."""
        told: dict[str, Any] = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.told(),
            "errors": [{name: short(text, DETAIL) for name, text in error.items()} for error in self.errors],
            "request_id": request_id,
        }
        return msgspec.json.encode(told)


def not_ready(reason: str) -> Problem:
    """There is no model to answer with."""
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, f"There is no model to answer with: {reason}", [], RETRY)


#: A caller may ask again after a second.
RETRY = [(b"retry-after", b"1")]
