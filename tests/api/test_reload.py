"""The cache is watched: a verified model is taken into service, any other is refused, and the one before answers on."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import candidates
from ml_lifecycle.api.model_cache import CURRENT, ModelCache, Status
from ml_lifecycle.api.server import DOOR_SECONDS
from ml_lifecycle.model_folder import MODEL
from service import NO_REGISTRY, Service, place

RECORD = {"share": 0.3, "carrier": "UA"}


def _until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Service]:
    """A service that has no model and no registry, not started."""
    service = Service(tmp_path, candidates.keys(tmp_path))
    yield service
    service.stop()


def _answer(caller: socket.socket) -> bytes:
    told = b""
    while not told.endswith(b"}}"):
        told += caller.recv(65536) or pytest.fail(f"closed after {told!r}")
    return told


def _version(service: Service) -> str:
    return str(service.post("/predict", RECORD).json["model"]["version"])


def test_without_a_model_it_is_healthy_and_not_ready_and_tells_why(empty: Service) -> None:
    empty.start(until_ready=False)
    assert empty.get("/health").status == 200
    for path in ("/ready", "/ping", "/v2/health/ready", "/model", "/version", "/v2/models/small_model"):
        assert empty.get(path).status == 503, path
    refused = empty.post("/predict", RECORD)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert "No model was fetched yet" in refused.json["detail"]
    assert empty.get("/").status == 200
    assert empty.get("/openapi.json").status == 200
    _until(lambda: NO_REGISTRY in str(empty.get("/ready").json["registry"]["error"]))


def test_a_model_that_comes_later_is_taken_into_service(empty: Service) -> None:
    empty.start(until_ready=False)
    place(empty.cache, empty.keys)
    _until(lambda: empty.get("/ready").status == 200)
    assert _version(empty) == "1"


def test_a_model_of_the_cache_serves_while_the_registry_is_away_and_that_is_told(empty: Service) -> None:
    place(empty.cache, empty.keys)
    empty.start()
    _until(lambda: empty.get("/ready").json["registry"]["error"] is not None)
    ready = empty.get("/ready").json
    assert (ready["ready"], ready["source"]) == (True, "cache")
    assert NO_REGISTRY in ready["registry"]["error"]


def test_another_version_takes_over(empty: Service) -> None:
    place(empty.cache, empty.keys)
    empty.start()
    assert empty.post("/predict", RECORD).json["decision"] == "no"
    place(empty.cache, empty.keys, candidates.candidate(candidates.small_model(0.25)), version="2")
    _until(lambda: _version(empty) == "2")
    answer = empty.post("/predict", RECORD).json
    assert (answer["decision"], answer["threshold"]) == ("yes", 0.25)
    assert empty.get("/model").json["version"] == "2"


@pytest.mark.parametrize("kind", ["changed", "foreign", "unsigned", "gone"])
def test_a_version_that_does_not_verify_is_refused_and_the_one_before_answers_on(empty: Service, kind: str) -> None:
    place(empty.cache, empty.keys)
    before = (empty.cache / CURRENT).read_bytes()
    keys = candidates.keys(empty.folder, "foreign") if kind == "foreign" else empty.keys
    current = place(empty.cache, keys, candidates.candidate(candidates.small_model(0.25)), version="2")
    folder, after = empty.cache / current.folder, (empty.cache / CURRENT).read_bytes()
    (empty.cache / CURRENT).write_bytes(before)
    if kind == "changed":
        (folder / MODEL).chmod(0o600)
        (folder / MODEL).write_bytes(candidates.small_model(0.1).content)
    elif kind == "unsigned":
        (folder / "model.sig").unlink()
    elif kind == "gone":
        folder.rename(empty.folder / "elsewhere")
    empty.start()
    assert _version(empty) == "1"
    (empty.cache / CURRENT).write_bytes(after)
    _until(lambda: any(line["event"] == "a model is refused" for line in empty.log_lines()))
    assert _version(empty) == "1"
    assert "ml_lifecycle_model_refused_total 1.0" in empty.get("/metrics").body.decode()


def test_what_the_attendant_refuses_is_told_and_counted(empty: Service) -> None:
    place(empty.cache, empty.keys)
    empty.start()
    empty.stop()  # and its attendant with it, which would write its own
    ModelCache(empty.cache).write_status(Status(refused_total=3))
    empty.start()
    _until(lambda: "ml_lifecycle_model_refused_total 3.0" in empty.get("/metrics").body.decode(), 2)


def test_without_a_model_it_ends_if_it_is_told_to(empty: Service) -> None:
    empty.extra["API_START_SECONDS"] = "1"
    empty.start(until_ready=False)
    assert empty.server is not None
    assert empty.server.process is not None
    assert empty.server.process.wait(30) != 0
    assert any("API_START_SECONDS" in str(line.get("reason")) for line in empty.log_lines())


def test_asked_to_end_it_answers_what_is_on_its_way(empty: Service) -> None:
    place(empty.cache, empty.keys)
    empty.start()
    body = b'{"share": 0.75, "carrier": "UA"}'
    head = (
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % len(body)
    )
    with (
        socket.create_connection(("127.0.0.1", empty.port)) as idle,
        socket.create_connection(("127.0.0.1", empty.port)) as halfway,
    ):
        idle.sendall(head + body)
        assert b" 200 " in _answer(idle)
        halfway.sendall(head + body[:5])
        time.sleep(0.2)
        os.kill(empty.pid, signal.SIGTERM)
        time.sleep(2 * DOOR_SECONDS)  # who waited to be let in has been; now all are told to go
        idle.sendall(head + body)  # over a connection that it has kept open so far
        halfway.sendall(body[5:])
        for caller in (idle, halfway):
            told = _answer(caller)
            assert b" 200 " in told
            assert b"connection: close" in told
    assert empty.server is not None
    assert empty.server.process is not None
    empty.server.process.wait(30)
