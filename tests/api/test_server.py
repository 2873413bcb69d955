"""The end of what serves: nobody is let in any more, and nobody who was is left standing."""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import candidates
from ml_lifecycle.api.server import ignore_newcomers
from servers import HOST
from service import Service, place, running

SECONDS = 30


def test_who_waits_to_be_accepted_is_and_who_comes_later_is_refused() -> None:
    listener = socket.create_server((HOST, 0))
    address = listener.getsockname()
    with socket.create_connection(address) as waiting:
        waiting.sendall(b"asked before")
        ignore_newcomers(listener.fileno())
        with pytest.raises(TimeoutError):
            socket.create_connection(address, timeout=0.2)
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.recv(100) == b"asked before"
            waiting.sendall(b"and after")
            assert accepted.recv(100) == b"and after"
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=SECONDS)


def test_a_caller_who_connected_just_before_the_end_is_answered(tmp_path_factory: pytest.TempPathFactory) -> None:
    """He has not even sent his request."""
    folder = tmp_path_factory.mktemp("ending")
    with running(folder) as service, socket.create_connection((HOST, service.port)) as caller:
        psutil.Process(service.pid).terminate()
        time.sleep(0.2)
        caller.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        caller.settimeout(SECONDS)
        assert caller.recv(65536).startswith(b"HTTP/1.1 200")


def test_workers_end_with_the_process_above_them(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Else they would keep the port, and nobody could start the service again."""
    with running(tmp_path_factory.mktemp("workers"), API_WORKERS="2") as service:
        below = psutil.Process(service.pid).children(recursive=True)
        assert len(below) >= 3
        service.kill()
        _, alive = psutil.wait_procs(below, timeout=SECONDS)
        assert alive == []
        service.start()
        assert _answers(service)


def test_a_worker_that_was_killed_no_longer_counts_among_those_that_serve(tmp_path: Path) -> None:
    """It never had a model; what it counted goes on counting."""
    service = Service(tmp_path, candidates.keys(tmp_path), extra={"API_WORKERS": "2"})
    service.start(until_ready=False)
    try:
        for _ in range(20):
            service.get("/latency")
        _until(lambda: _answered(service) == 20)  # counted once the answer is on its way
        assert _measured(service, "model_ready") == 0
        killed = next(child for child in psutil.Process(service.pid).children() if "spawn_main" in str(child.cmdline()))
        killed.kill()
        _until(lambda: not killed.is_running())
        place(service.cache, service.keys)
        _until(lambda: _measured(service, "model_ready") == 1)
        assert _answered(service) == 20
        _until(lambda: _measured(service, "model_reloads_total") == 2)  # by the one that took its place, too
        assert all(_answers(service) for _ in range(10))
    finally:
        service.stop()


def _answered(service: Service) -> float:
    return _measured(service, 'http_requests_total{route="/latency",status="200"}')


def _measured(service: Service, name: str) -> float:
    lines = service.get("/metrics").body.decode().splitlines()
    return next(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"ml_lifecycle_{name} "))


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def _answers(service: Service) -> bool:
    return service.post("/predict", {"share": 0.75, "carrier": "UA"}).status == 200
