"""What is noted of a request on its way: for its answer, the logs and the measurements."""

import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from starlette.types import Scope

from ml_lifecycle import request_id

KEY = "ml_lifecycle.call"
#: A caller's own id: what gateways and tracing systems use, and nothing that could forge a line of a log.
_WELL_FORMED = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")


@dataclass(slots=True)
class Call:
    """A request.

    ``correlation_id`` is the caller's own id of it, ``request_id`` that of the first row's answer, and ``seconds`` run
    from ``started``.
    """

    correlation_id: str | None = None
    request_id: str = ""
    version: str | None = None
    rows: int = 0
    started: float = field(default_factory=time.perf_counter)

    def id(self) -> str:
        """Its id for the caller: the caller's own, or else that of the answer; one is made up if there is no answer."""
        if not self.correlation_id and not self.request_id:
            (self.request_id,) = request_id.of_answers(datetime.now(UTC), 1)
        return self.correlation_id or self.request_id

    def seconds(self) -> float:
        """Since it arrived."""
        return time.perf_counter() - self.started


def of(scope: Scope) -> Call:
    """The notes of a request."""
    call: Call = scope[KEY]
    return call


def well_formed(header: bytes) -> str | None:
    """Take over a caller's id if it is one."""
    return header.decode() if _WELL_FORMED.fullmatch(header) else None
