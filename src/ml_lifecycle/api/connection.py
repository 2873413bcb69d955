"""Connections that cannot be held for nothing, and that end without a request being lost.

uvicorn closes a connection that is idle after an answer, but waits for ever for the first request, for the rest of a
request's head, or for a caller to read what it asked for: callers who send or read slowly, or never, would use up the
connections of all others. It takes heads of any length, and as many requests as a caller sends ahead. It does not read
the body of a request that offers another protocol. And when it shuts down it closes idle connections at once, when the
next request may be on its way.
"""

import asyncio
import contextlib
import fcntl
import sys
import termios
import time
from http import HTTPStatus
from typing import cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from ml_lifecycle.api.call import Call
from ml_lifecycle.api.joined_transport import JoinedTransport
from ml_lifecycle.api.problems import MEDIA_TYPE, Problem

#: Seconds between two looks at the connections that wait.
LOOK_SECONDS = 1.0
#: Seconds for which an idle connection still takes a request, and answers it, when the service shuts down; and for
#: which one that is refused is read, since the kernel would take back the refusal if it were closed before that.
LAST_REQUEST_SECONDS = 1.0
#: Bytes of a request's first line and headers, or of the trailers after a body; a piece more may pass.
MAX_HEAD_BYTES = 2**16
#: Bytes parsed at once: so many requests as fit in them can be waiting on one connection.
PIECE_BYTES = 2**12
#: Bytes of an answer that a caller has to take, in the seconds for which a connection may wait, to be given more time.
FAIR_BYTES = 2**16
_HEAD_TOO_LARGE = Problem(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"The first line and the headers of the request have more than {MAX_HEAD_BYTES} bytes. Send less; data belong in "
    "the body.",
)


class Waiting:
    """The connections of this process that wait for their callers, the longest waiting first.

    They wait for the head of a request, or for an answer to be read.
    """

    def __init__(self) -> None:
        self.most = 10_000
        self.open = 0
        self._since: dict[Connection, float] = {}

    def add(self, connection: "Connection") -> None:
        """It waits from now on, and did not before."""
        self._since[connection] = time.monotonic()

    def remove(self, connection: "Connection") -> None:
        """It waits no more."""
        self._since.pop(connection, None)

    def make_room(self) -> None:
        """Close the one that has waited longest if there are too many; those at work on a request are left alone."""
        if self.open > self.most and self._since:
            self._close(next(iter(self._since)))

    def close_older(self, seconds: float) -> int:
        """Close those that have waited longer and are not read fast enough; tell how many they were."""
        until, closed = time.monotonic() - seconds, 0
        while self._since:
            connection, since = next(iter(self._since.items()))
            if since > until:
                break
            if connection.is_read():
                self.remove(connection)
                self.add(connection)
            else:
                self._close(connection)
                closed += 1
        return closed

    def _close(self, connection: "Connection") -> None:
        self.remove(connection)
        connection.transport.abort()


WAITING = Waiting()


def _refusal(problem: Problem) -> bytes:
    """The answer to a request that the application never sees."""
    request_id = Call().id()
    content = problem.content(request_id)
    headers = {
        b"content-type": MEDIA_TYPE,
        b"content-length": b"%d" % len(content),
        b"x-request-id": request_id.encode(),
        b"connection": b"close",
    }
    lines = b"".join(b"%b: %b\r\n" % header for header in headers.items())
    return b"%b%b\r\n%b" % (STATUS_LINE[problem.status], lines, content)


class _Flow(FlowControl):
    """Does not let more be read while requests wait for the answers to others."""

    def __init__(self, connection: "Connection") -> None:
        super().__init__(connection.transport)
        self._waiting = connection.pipeline

    def resume_reading(self) -> None:
        """Read on, unless requests wait."""
        if not self._waiting:
            super().resume_reading()


class Connection(HttpToolsProtocol):
    """A connection that is known to wait, as long as it does, and that keeps only so much of what it is sent."""

    _is_ending = False
    _is_refused = False
    _offers_upgrade = False
    #: Came while requests waited, and is not parsed yet; whenever there is some, requests wait.
    _held = b""
    #: Bytes since a part of a body, or the end of a request, in an earlier piece: of a head, or of trailers.
    _unfinished = 0
    #: Bytes that the caller had not taken at the last look.
    _unsent = 0
    _answering: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait."""
        self._direct = cast("asyncio.Transport", transport)
        self._joined = JoinedTransport(self._direct)
        super().connection_made(cast("asyncio.Transport", self._joined))
        self.flow = _Flow(self)
        WAITING.open += 1
        WAITING.make_room()
        WAITING.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        WAITING.open -= 1
        WAITING.remove(self)
        self.pipeline.clear()
        self._held = b""
        if self._answering is not None:  # uvicorn tells the last request only, and others may be before it
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, or keep it while requests wait."""
        if self._is_refused:
            return
        self._unset_keepalive_if_required()
        if self.pipeline or len(data) > PIECE_BYTES:
            self._held += data
            self._parse_held()
        else:
            self._parse(data)

    def _parse_held(self) -> None:
        """Parse what is kept, piece by piece, until requests wait."""
        held, start = self._held, 0
        while start < len(held) and not (self.pipeline or self._is_refused or self._direct.is_closing()):
            self._parse(held[start : start + PIECE_BYTES])
            start += PIECE_BYTES
        self._held = held[start:]

    def _parse(self, piece: bytes) -> None:
        self._unfinished += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as offer:
            self._parse(self._head_without_upgrade() + piece[offer.args[0] :])
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")
        else:
            if self._unfinished > MAX_HEAD_BYTES:
                self._refuse_head()

    def _head_without_upgrade(self) -> bytes:
        """The head that was parsed last, without its offer of another protocol, for a parser that reads its body.

        A server may ignore such an offer (RFC 9110, 7.8), but the parser takes what follows for the other protocol.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        self._offers_upgrade = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        lines = [b"%b: %b\r\n" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(lines))

    def _refuse_head(self) -> None:
        self.logger.warning("A request was refused: its head has more than %d bytes.", MAX_HEAD_BYTES)
        if not self._is_idle:  # a refusal would be taken for the answer to an earlier request
            self.transport.abort()
            return
        self._is_refused = True
        self.transport.write(_refusal(_HEAD_TOO_LARGE))
        self.transport.write_eof()
        self.loop.call_later(LAST_REQUEST_SECONDS, self.transport.close)

    @property
    def _is_idle(self) -> bool:
        """Whether all requests whose heads came are answered."""
        return self.cycle is None or self.cycle.response_complete

    def on_headers_complete(self) -> None:
        """A request is there."""
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._offers_upgrade = True
            return
        super().on_headers_complete()
        if not self.flow.write_paused:
            WAITING.remove(self)
        if self._is_ending:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A part of its body is there."""
        self._unfinished = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """All of it is there."""
        self._unfinished = 0
        if not self._offers_upgrade:
            super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """It was answered, and the next one may come."""
        self._joined.flush()
        super().on_response_complete()
        is_closing = self._direct.is_closing()
        if self.flow.read_paused and not is_closing:
            self.flow.resume_reading()
            self._parse_held()
        if (self._is_idle or is_closing) and not self.flow.write_paused:
            self._wait()
        if self._is_ending and self._is_idle:
            self._close_soon()

    def _wait(self) -> None:
        """Wait for the caller from now on."""
        self._unsent = self._count_unsent()
        WAITING.add(self)

    def _count_unsent(self) -> int:
        """Bytes that the caller has not taken; none if the kernel has them all, which goes on without this process."""
        kept = self._direct.get_write_buffer_size()
        if not kept:
            return 0
        of_kernel = bytes(4)
        with contextlib.suppress(OSError):  # not told for a socket by every kernel
            of_kernel = fcntl.ioctl(self._direct.get_extra_info("socket").fileno(), termios.TIOCOUTQ, of_kernel)
        return kept + int.from_bytes(of_kernel, sys.byteorder)

    def pause_writing(self) -> None:
        """The caller does not read as fast as it is answered: wait for it."""
        super().pause_writing()
        WAITING.remove(self)
        self._wait()

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        WAITING.remove(self)
        if self._is_idle or self._direct.is_closing():
            self._wait()

    def is_read(self) -> bool:
        """Whether the caller has taken a fair part of what it is sent since the last look, and there is more."""
        before, self._unsent = self._unsent, self._count_unsent()
        return self._unsent > 0 and before - self._unsent >= FAIR_BYTES

    def shutdown(self) -> None:
        """Answer what is there or on its way, then close."""
        self._is_ending = True
        if self._is_idle:
            self._close_soon()
        elif not self.cycle.response_started:  # else it is too late to tell the caller
            self.cycle.keep_alive = False

    def _close_soon(self) -> None:
        self.loop.call_later(LAST_REQUEST_SECONDS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self._is_idle:
            self.transport.close()
