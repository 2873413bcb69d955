"""Who is at work, and where."""

import getpass
import os
import platform
from datetime import UTC, datetime


def user() -> str:
    """The name of the user; a container's may have a number only."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def machine() -> str:
    """The name of the machine."""
    return platform.node()


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
