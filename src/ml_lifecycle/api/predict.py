"""POST /predict: records as an operations system has them."""

from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from ml_lifecycle.api import call
from ml_lifecycle.api.body import read_body, refuse_other_types
from ml_lifecycle.api.scoring import Scoring
from ml_lifecycle.api.settings import Settings


@dataclass(frozen=True)
class Predict:
    """Answers one record, or a list of them; an ASGI application, for this is the path that must be short."""

    scoring: Scoring
    settings: Settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            Problem: it is refused.
        """
        refuse_other_types(scope)
        body = await read_body(receive, self.settings.max_body_bytes, self.settings.body_seconds)
        serving = self.scoring.slot.take()
        answer, single = await self.scoring.of_records(serving, body, call.of(scope))
        content = answer.one() if single else answer.many()
        await send_json(send, content, answer.headers(single=single))


async def send_json(send: Send, content: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """Give an answer in JSON."""
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content)), *headers]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": content})
