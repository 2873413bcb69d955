"""The body of a request, within its limits of size and time."""

import asyncio
from http import HTTPStatus

from starlette.types import Receive, Scope

from ml_lifecycle.api.problems import Problem, short

CLOSE = [(b"connection", b"close")]


def header(scope: Scope, name: bytes) -> bytes:
    """A header of a request; empty if it has none."""
    return next((value for key, value in scope["headers"] if key == name), b"")


def refuse_other_types(scope: Scope) -> None:
    """Refuse a body that is not declared to be JSON: no other site's form can send one with a browser's credentials.

    Raises:
        Problem: 415.
    """
    declared = header(scope, b"content-type")
    if declared.partition(b";")[0].strip().lower() != b"application/json":
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"The body is declared as {short(declared.decode('latin-1')) or 'nothing'}. Send it with the header "
            "'Content-Type: application/json'.",
        )


def refuse_large(length: int, limit: int) -> None:
    """Refuse a body beyond the limit.

    Raises:
        Problem: 413; the connection is closed, so that the rest is not read.
    """
    if length > limit:
        raise Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The body has more than {limit} bytes (API_MAX_BODY_BYTES). Send fewer rows at a time.",
            [],
            CLOSE,
        )


async def read_body(receive: Receive, limit: int, seconds: float) -> bytes:
    """Read a body.

    Raises:
        Problem: 400, the caller went away; 408, it did not arrive in time; 413, it is too large.
    """
    parts, size, more = [], 0, True
    try:
        async with asyncio.timeout(seconds):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Problem(HTTPStatus.BAD_REQUEST, "The caller went away before the body was complete.")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                refuse_large(size, limit)
                more = message.get("more_body", False)
    except TimeoutError:
        raise Problem(
            HTTPStatus.REQUEST_TIMEOUT, f"The body was not complete within {seconds:g} s (API_BODY_SECONDS).", [], CLOSE
        ) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)
