"""Who is at work, and where."""

import os
import socket
from datetime import UTC, datetime, timedelta

import pytest

from ml_lifecycle import whoami

NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


def test_the_user_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is that of the session."""
    monkeypatch.setenv("LOGNAME", "ada")
    assert "ada" == whoami.user()


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container, a user may be a number that the system has no name for."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 987654321)
    assert "987654321" == whoami.user()


def test_the_machine_is_named() -> None:
    """The name is that which the network knows."""
    assert socket.gethostname() == whoami.machine()


def test_the_time_is_utc_to_the_second() -> None:
    """The time is now, whatever the zone of the machine, without parts of a second."""
    before = datetime.now(UTC) - timedelta(seconds=1)
    now = datetime.fromisoformat(whoami.now())
    assert before <= now <= datetime.now(UTC)
    assert (timedelta(0), 0, 25) == (now.utcoffset(), now.microsecond, len(whoami.now()))
