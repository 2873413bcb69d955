"""A small TCP proxy that does to a connection what networks and servers do."""

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

CHUNK = 65536
WAIT = 120  # seconds until what is waited for is given up
REQUEST = re.compile(rb"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/1\.1\r\n")
UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\n"
    b"Connection: close\r\n\r\n"
)
BODY = b"<?xml version='1.0'?><Error><Code>ServiceUnavailable</Code><Message>Please try again.</Message></Error>"


@dataclass
class Proxy:
    """Passes bytes on to a server; what it was told to do comes first."""

    target: tuple[str, int]
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    unavailable: int = 0  # requests still to be refused with 503
    only: tuple[str, str] = ("", "")  # method and part of the path of those requests; any
    refused: int = 0  # requests refused so far
    bytes_per_chunk: int = CHUNK
    pause: float = 0.0  # seconds before each chunk: a slow line
    paused: int = 0  # chunks that had to wait
    triggers: dict[tuple[bytes, bytes], Callable[[], None]] = field(default_factory=dict)
    cuts: dict[tuple[bytes, bytes], Callable[[], None]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.listener.getsockname()[1])

    @property
    def url(self) -> str:
        """Its address for HTTP."""
        return f"http://127.0.0.1:{self.port}"

    def on_request(self, method: str, part: str, act: Callable[[], None]) -> None:
        """Do something once, when a request with this method and part of its path arrives, before it is passed on."""
        self.triggers[method.encode(), part.encode()] = act

    @contextlib.contextmanager
    def halted(self, method: str, part: str) -> Iterator[Callable[[], None]]:
        """Let one such request wait until the block is left; gives a function that waits for it to arrive."""
        arrived, go = threading.Event(), threading.Event()

        def halt() -> None:
            arrived.set()
            assert go.wait(WAIT)

        def wait() -> None:
            assert arrived.wait(WAIT), f"no {method} of {part} arrived"

        self.on_request(method, part, halt)
        try:
            yield wait
        finally:
            go.set()

    def within_request(self, method: str, part: str, act: Callable[[], None]) -> None:
        """Do something once, when half of what such a request brings has been passed on; then cut the connection."""
        self.cuts[method.encode(), part.encode()] = act

    def serve(self) -> None:
        """Accept connections until the listener is closed."""
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connection, args=(client,), daemon=True).start()

    def _connection(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(self.target) as server:
            back = threading.Thread(target=self._pass, args=(server, client), daemon=True)
            back.start()
            self._pass_requests(client, server)
            _end(client, server)
            back.join()

    def _pass_requests(self, client: socket.socket, server: socket.socket) -> None:
        cut = None
        with contextlib.suppress(OSError):
            while data := client.recv(self.bytes_per_chunk):
                head = 0
                if request := REQUEST.match(data):
                    if self._is_refused(request):
                        _refuse(client, with_body=request["method"] != b"HEAD")
                        return
                    for act in self._due(self.triggers, request):
                        act()
                    cut = next(iter(self._due(self.cuts, request)), cut)
                    head = data.index(b"\r\n\r\n") + 4 if b"\r\n\r\n" in data else len(data)
                if cut is not None and len(data) > head:
                    server.sendall(data[: head + (len(data) - head) // 2])
                    cut()
                    return
                self._wait()
                server.sendall(data)

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(self.bytes_per_chunk):
                self._wait()
                sink.sendall(data)
        _end(source, sink)

    def _wait(self) -> None:
        if self.pause:
            self.paused += 1
            threading.Event().wait(self.pause)

    def _is_refused(self, request: "re.Match[bytes]") -> bool:
        with self._lock:
            method, part = (each.encode() for each in self.only)
            if self.unavailable <= 0 or not request["method"].startswith(method) or part not in request["path"]:
                return False
            self.unavailable -= 1
            self.refused += 1
            return True

    def _due(
        self, acts: dict[tuple[bytes, bytes], Callable[[], None]], request: "re.Match[bytes]"
    ) -> list[Callable[[], None]]:
        with self._lock:
            due = [(method, part) for method, part in acts if method == request["method"] and part in request["path"]]
            return [acts.pop(trigger) for trigger in due]


def _refuse(client: socket.socket, *, with_body: bool) -> None:
    body = BODY if with_body else b""
    client.sendall(UNAVAILABLE.replace(b"{length}", str(len(body)).encode()) + body)
    client.shutdown(socket.SHUT_WR)
    while client.recv(CHUNK):  # what it still sends, so that the answer is not lost to a reset
        continue


def _end(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def proxy(port: int) -> Iterator[Proxy]:
    """Run a proxy before a port of this machine."""
    running = Proxy(("127.0.0.1", port))
    thread = threading.Thread(target=running.serve, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.listener.shutdown(socket.SHUT_RDWR)
        running.listener.close()
        thread.join()
