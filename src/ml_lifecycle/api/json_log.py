"""Structured logs: one JSON object a line, on the standard error.

Lines of requests are written together, at most a tenth of a second later; a process that is killed may lose those.
The prediction log is the record that lasts.
"""

import asyncio
import json
import logging
import os
import traceback
from datetime import UTC, datetime
from typing import Any

import msgspec

PAUSE_SECONDS = 0.1
STDERR = 2
_encode = msgspec.json.Encoder().encode


def line(level: str, event: str, **facts: Any) -> bytes:
    """One line of the log."""
    told = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "level": level, "event": event, **facts}
    try:
        return _encode(told) + b"\n"
    except (UnicodeEncodeError, TypeError):  # half a character that a caller sent, or something that is no JSON
        return json.dumps(told, default=str).encode() + b"\n"


def write(level: str, event: str, **facts: Any) -> None:
    """Write one line now."""
    write_all(STDERR, line(level, event, **facts))


class JsonFormatter(logging.Formatter):
    """Puts what libraries log, uvicorn above all, into the same form."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its end."""
        facts = {"logger": record.name}
        if record.exc_info:
            facts["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return line(record.levelname.lower(), record.getMessage(), **facts).decode().rstrip("\n")


#: For uvicorn: everything through `JsonFormatter`.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": JsonFormatter}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
    "loggers": {
        name: {"handlers": ["stderr"], "level": "INFO", "propagate": False} for name in ("uvicorn", "ml_lifecycle")
    },
}


class RequestLog:
    """The lines of requests, written together."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    def add(self, **facts: Any) -> None:
        """Add the line of a request."""
        if not self._lines:
            self._loop.call_later(PAUSE_SECONDS, self.flush)
        self._lines.append(line("info", "request", **facts))

    def flush(self) -> None:
        """Write what is there."""
        lines, self._lines = self._lines, []
        if lines:
            write_all(STDERR, b"".join(lines))


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of it; who reads the log may be gone, which must not stop the service."""
    while content:
        try:
            content = content[os.write(descriptor, content) :]
        except OSError:
            return
