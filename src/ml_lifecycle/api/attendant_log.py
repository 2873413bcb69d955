"""What the attendant says: lines of JSON on the standard error, and errors in one line without secrets."""

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from typing import Any

from ml_lifecycle import faults
from ml_lifecycle.api import json_log
from ml_lifecycle.errors import LifecycleError

#: Characters of an error that is not ours.
LENGTH = 500
#: What nobody is to read: user and password of an address, the signature in a query, and a statement with its values.
_SECRETS = (
    (re.compile(r"://[^/\s]*@"), "://"),
    (re.compile(r"(https?://[^\s?]+)\?\S+"), r"\1"),
    (re.compile(r" \[SQL: .*"), ""),
)


def say(level: str, event: str, **facts: Any) -> None:
    """Write one line of the log; nobody reading it stops nothing."""
    with contextlib.suppress(OSError):
        json_log.write(level, event, **facts)


def plain(error: BaseException) -> str:
    """Say in one line what went wrong, without what nobody is to read."""
    if fault := faults.explain(error):
        return fault.text
    return without_secrets(next(_told(error), type(error).__name__))


def without_secrets(text: str) -> str:
    """Drop users, passwords and signatures from the addresses in a text that is not ours, and what is too long."""
    for secret, instead in _SECRETS:
        text = secret.sub(instead, text)
    return text if len(text) <= LENGTH else f"{text[:LENGTH]}…"


def _told(error: BaseException) -> Iterator[str]:
    for cause in faults.chain(error):
        if text := " ".join(str(cause).split()):
            yield text if isinstance(cause, LifecycleError) else f"{type(cause).__name__}: {text}"


class Formatter(json_log.JsonFormatter):
    """Puts what libraries log into the same form; its addresses may hold passwords, its tracebacks are not for here."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its end."""
        told = logging.makeLogRecord({**vars(record), "msg": without_secrets(record.getMessage()), "args": None})
        told.exc_info = None
        return super().format(told)


def take_over() -> None:
    """Write what libraries warn of as our own lines."""
    os.environ["MLFLOW_CONFIGURE_LOGGING"] = "false"  # it would write in a form of its own
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
