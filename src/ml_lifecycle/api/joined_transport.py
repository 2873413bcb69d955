"""Head and body of an answer in one write.

uvicorn writes them one after the other, which makes two calls of the kernel and, to a caller on the same machine, two
deliveries; of a short answer that is a large part of the time.
"""

import asyncio
from typing import Any

_HEAD, _INTERIM = b"HTTP/1.1 ", b"HTTP/1.1 1"


class JoinedTransport:
    """A transport that keeps the head of an answer until there is something to send with it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self._head = transport, b""

    def __getattr__(self, name: str) -> Any:
        """All else is as the transport does it."""
        return getattr(self._transport, name)

    def write(self, content: bytes) -> None:
        """Send, or keep what is the head of an answer."""
        if self._head:
            content, self._head = self._head + content, b""
        elif content.startswith(_HEAD) and not content.startswith(_INTERIM):
            self._head = content
            return
        self._transport.write(content)

    def flush(self) -> None:
        """Send what is kept: the answer has no body."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def write_eof(self) -> None:
        """Send what is kept, and tell that no more comes."""
        self.flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Send what is kept, and close."""
        self.flush()
        self._transport.close()
