"""A small TCP proxy that does to a connection what networks and servers do."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

CHUNK = 65536
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
    refused: int = 0  # requests refused so far
    bytes_per_chunk: int = CHUNK
    pause: float = 0.0  # seconds before each chunk: a slow line
    triggers: dict[tuple[bytes, bytes], Callable[[], None]] = field(default_factory=dict)
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

    def serve(self) -> None:
        """Accept connections until the listener is closed."""
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connection, args=(client,), daemon=True).start()

    def _connection(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            first = client.recv(CHUNK)
            if self._is_refused(first):
                body = b"" if first.startswith(b"HEAD") else BODY
                client.sendall(UNAVAILABLE.replace(b"{length}", str(len(body)).encode()) + body)
                return
            self._act(first)
            with socket.create_connection(self.target) as server:
                server.sendall(first)
                back = threading.Thread(target=self._pass, args=(server, client, False), daemon=True)
                back.start()
                self._pass(client, server, True)
                back.join()

    def _is_refused(self, request: bytes) -> bool:
        with self._lock:
            if self.unavailable <= 0 or not request:
                return False
            self.unavailable -= 1
            self.refused += 1
            return True

    def _act(self, data: bytes) -> None:
        line = data.split(b"\r\n", 1)[0]
        with self._lock:
            due = [(method, part) for method, part in self.triggers if line.startswith(method) and part in line]
            acts = [self.triggers.pop(trigger) for trigger in due]
        for act in acts:
            act()

    def _pass(self, source: socket.socket, sink: socket.socket, is_request: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(self.bytes_per_chunk):
                if is_request:
                    self._act(data)
                    if self._is_refused(data):
                        break
                if self.pause:
                    threading.Event().wait(self.pause)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


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
