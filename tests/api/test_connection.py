"""Callers who send nothing, or little by little, do not keep others from being served."""

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from servers import HOST
from service import Service, running

RECORD = {"share": 0.75, "carrier": "UA"}
MOST = 40


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that waits for a second, and has few connections."""
    folder = tmp_path_factory.mktemp("strict")
    with running(folder, API_IDLE_SECONDS="1", API_MAX_CONNECTIONS=str(MOST)) as found:
        yield found


def _is_closed(caller: socket.socket, seconds: float = 10) -> bool:
    caller.settimeout(seconds)
    try:
        return caller.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def test_a_connection_that_sends_nothing_is_closed(strict: Service) -> None:
    with socket.create_connection((HOST, strict.port)) as caller:
        assert _is_closed(caller)


def test_a_head_that_comes_byte_by_byte_is_not_waited_for(strict: Service) -> None:
    with socket.create_connection((HOST, strict.port)) as caller:
        started = time.monotonic()
        sent = 0
        with contextlib.suppress(OSError):  # reset, or a broken pipe
            for byte in b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"a" * 1000:
                sent += caller.send(bytes([byte]))
                time.sleep(0.05)
        assert sent < 300
        assert time.monotonic() - started < 15


def test_a_connection_that_was_answered_may_ask_again_and_is_closed_only_when_idle(strict: Service) -> None:
    with socket.create_connection((HOST, strict.port)) as caller:
        for _ in range(5):
            caller.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert caller.recv(65536).startswith(b"HTTP/1.1 200")
            time.sleep(0.4)  # together longer than one wait may be
        assert _is_closed(caller)


def test_when_there_are_too_many_the_longest_waiting_one_goes_and_others_are_served(strict: Service) -> None:
    callers = [socket.create_connection((HOST, strict.port)) for _ in range(MOST * 5)]
    try:
        started = time.monotonic()
        answers = [strict.post("/predict", RECORD).status for _ in range(5)]
        assert answers == [200] * 5
        assert time.monotonic() - started < 10
        assert _is_closed(callers[0])
    finally:
        for caller in callers:
            caller.close()
