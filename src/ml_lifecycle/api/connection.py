"""Connections that cannot be held for nothing, and that end without a request being lost.

uvicorn closes a connection that is idle after an answer, but waits for ever for the first request, or for the rest of a
request's head: callers who send it slowly, or never, would use up the connections of all others. And when it shuts down
it closes idle connections at once, when the next request may be on its way.
"""

import asyncio
import time
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ml_lifecycle.api.joined_transport import JoinedTransport

#: Seconds between two looks at the connections that wait.
LOOK_SECONDS = 1.0
#: Seconds for which an idle connection still takes a request, and answers it, when the service shuts down.
LAST_REQUEST_SECONDS = 1.0


class Waiting:
    """The connections of this process that wait for the head of a request, the longest waiting first."""

    def __init__(self) -> None:
        self.most = 10_000
        self.open = 0
        self._since: dict[Connection, float] = {}

    def add(self, connection: "Connection") -> None:
        """It waits from now on."""
        self._since[connection] = time.monotonic()

    def remove(self, connection: "Connection") -> None:
        """It waits no more."""
        self._since.pop(connection, None)

    def __contains__(self, connection: object) -> bool:
        """Whether it waits."""
        return connection in self._since

    def make_room(self) -> None:
        """Close the one that has waited longest if there are too many; those with a request are left alone."""
        if self.open > self.most and self._since:
            self._close(next(iter(self._since)))

    def close_older(self, seconds: float) -> int:
        """Close those that have waited longer, and tell how many they were."""
        until, closed = time.monotonic() - seconds, 0
        while self._since:
            connection, since = next(iter(self._since.items()))
            if since > until:
                break
            self._close(connection)
            closed += 1
        return closed

    def _close(self, connection: "Connection") -> None:
        self.remove(connection)
        connection.transport.abort()


WAITING = Waiting()


class Connection(HttpToolsProtocol):
    """A connection that is known to wait, as long as it does."""

    _is_ending = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait."""
        self._joined = JoinedTransport(cast("asyncio.Transport", transport))
        super().connection_made(cast("asyncio.Transport", self._joined))
        WAITING.open += 1
        WAITING.make_room()
        WAITING.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        WAITING.open -= 1
        WAITING.remove(self)
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """A request is there."""
        WAITING.remove(self)
        super().on_headers_complete()
        if self._is_ending:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        """It was answered, and the next one may come."""
        self._joined.flush()
        super().on_response_complete()
        if not self.pipeline and not self.transport.is_closing():
            WAITING.add(self)
            if self._is_ending:
                self._close_soon()

    def shutdown(self) -> None:
        """Answer what is there or on its way, then close."""
        self._is_ending = True
        if self in WAITING:
            self._close_soon()
        elif self.cycle is not None and not self.cycle.response_started:  # else it is too late to tell the caller
            self.cycle.keep_alive = False

    def _close_soon(self) -> None:
        self.loop.call_later(LAST_REQUEST_SECONDS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self in WAITING:
            self.transport.close()
