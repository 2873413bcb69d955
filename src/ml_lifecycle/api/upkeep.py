"""What a service does beside its requests, again and again: whatever goes wrong once, there is a next time."""

import asyncio
import contextlib
import traceback
from collections.abc import Awaitable, Callable

from ml_lifecycle.api import json_log
from ml_lifecycle.api.reason import reason_of
from ml_lifecycle.errors import LifecycleError

Duty = Callable[[], Awaitable[None]]


async def repeat(duty: Duty, seconds: float, trouble: str) -> None:
    """Do something now and again, until cancelled; if it has no end of itself, begin anew once it fails.

    Args:
        duty: what is done.
        seconds: between two times.
        trouble: what it means that it fails, for the log.
    """
    told = None
    while True:
        told = await attempt(duty, trouble, told)
        await asyncio.sleep(seconds)


async def attempt(duty: Duty, trouble: str, told: str | None = None) -> str | None:
    """Do something once, and log what it raises, unless that was told before.

    Returns:
        What it raised; None if all went well.
    """
    try:
        await duty()
    except Exception as error:  # noqa: BLE001 - whatever it is, the requests do not suffer for it
        reason = reason_of(error)
        if reason != told:
            _tell(trouble, reason, error)
        return reason
    return None


def _tell(trouble: str, reason: str, error: Exception) -> None:
    facts = {} if isinstance(error, LifecycleError) else {"traceback": "".join(traceback.format_exception(error))}
    with contextlib.suppress(Exception):  # who reads the log may be gone
        json_log.write("error", trouble, reason=reason, **facts)
