"""The cache is watched: a verified model is taken into service, any other is refused, and the one before answers on."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from fastapi import FastAPI
from starlette.types import Message
from uvicorn.config import STARTUP_FAILURE

import candidates
from ml_lifecycle.api import create_app
from ml_lifecycle.api.measurements import Measurements
from ml_lifecycle.api.model_cache import CURRENT, LogStatus, ModelCache, Status
from ml_lifecycle.api.reload import Reload
from ml_lifecycle.api.server import DOOR_SECONDS
from ml_lifecycle.api.settings import Settings
from ml_lifecycle.api.slot import Slot
from ml_lifecycle.model_folder import MODEL
from service import ALIAS, NO_REGISTRY, Service, place
from unservable import UNSERVABLE, unservable

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


@pytest.mark.parametrize("kind", UNSERVABLE)
def test_a_signed_version_that_cannot_serve_is_refused_named_and_counted_and_ends_no_start(
    empty: Service, kind: str
) -> None:
    place(empty.cache, empty.keys)
    empty.start()
    bad = place(empty.cache, empty.keys, unservable(kind), version="2")
    _until(lambda: empty.get("/ready").json["refused"] != [])
    assert _version(empty) == "1"
    _is_refused(empty, bad.digest, UNSERVABLE[kind][1])
    empty.stop()
    empty.start(until_ready=False)
    ready = empty.get("/ready")
    assert (ready.status, ready.json["ready"]) == (503, False)
    assert UNSERVABLE[kind][1] in ready.json["reason"]
    _is_refused(empty, bad.digest, UNSERVABLE[kind][1])
    place(empty.cache, empty.keys, version="3")
    _until(lambda: empty.get("/ready").status == 200)
    assert (_version(empty), empty.get("/ready").json["refused"]) == ("3", [])


def _is_refused(service: Service, digest: str, reason: str) -> None:
    (refused,) = service.get("/ready").json["refused"]
    assert (set(refused), refused["version"], refused["digest"]) == ({"version", "digest", "reason", "at"}, "2", digest)
    assert reason in refused["reason"]
    assert "ml_lifecycle_model_refused_total 1.0" in service.get("/metrics").body.decode()
    line = [line for line in service.log_lines() if line["event"] == "a model is refused"][-1]
    assert (line["level"], line["version"], line["digest"], line["reason"]) == ("error", "2", digest, refused["reason"])


def test_what_both_the_attendant_and_a_process_refuse_is_named_once(empty: Service) -> None:
    bad = place(empty.cache, empty.keys, unservable("garbage"), version="2")
    empty.start(until_ready=False)
    _is_refused(empty, bad.digest, "cannot be loaded")
    mine = empty.get("/ready").json["refused"][0]
    other = {**mine, "version": "3", "reason": "The attendant's."}
    for told, expected in (([{**mine, "reason": "The attendant's."}], ["2"]), ([other], ["3", "2"])):
        empty.stop()
        ModelCache(empty.cache).write_status(Status.model_validate({"refused": told, "refused_total": 1}))
        empty.start(until_ready=False)
        found = empty.get("/ready").json["refused"]
        assert [each["version"] for each in found] == expected
        assert found[0]["reason"] == "The attendant's."


def test_a_status_that_cannot_be_counted_ends_no_start_and_is_looked_at_again(empty: Service) -> None:
    place(empty.cache, empty.keys)
    ModelCache(empty.cache).write_status(Status(log=LogStatus(waiting_bytes=10**400)))  # more than a float can hold
    empty.start()  # the attendant writes another
    assert _version(empty) == "1"
    assert any(line["event"] == "the cache cannot be read" for line in empty.log_lines())


def _settings(empty: Service) -> Settings:
    return Settings(
        model=empty.model,
        alias=ALIAS,
        tracking_uri=NO_REGISTRY,
        cache=empty.cache,
        keys_folder=empty.keys.folder,
        prediction_log=str(empty.log_folder),
        authentication="off",
    )


@pytest.fixture
def reload(empty: Service) -> Iterator[Reload]:
    """What looks at the cache, without a service around it."""
    with ThreadPoolExecutor(1) as executor:
        yield Reload(_settings(empty), Slot(), Measurements(), executor)


@pytest.mark.parametrize("path", ["/ready", "/ping", "/model", "/v2/models/small_model"])
def test_a_process_without_a_model_looks_before_it_refuses_as_another_of_its_service_may_have_answered(
    empty: Service, path: str
) -> None:
    """Its duties have not begun, so nothing looks but the request; a caller who goes away ends no look."""
    app = create_app(_settings(empty))

    async def first_come_first_served() -> list[int]:
        before = await _status(app, path)
        place(empty.cache, empty.keys)
        gone = asyncio.create_task(_status(app, path))
        await asyncio.sleep(0)
        gone.cancel()
        return [before, *await asyncio.gather(*(_status(app, path) for _ in range(3)))]

    assert asyncio.run(first_come_first_served()) == [503, 200, 200, 200]


async def _status(app: FastAPI, path: str) -> int:
    """The status of an answer, asked for without a server."""
    told: list[Message] = []
    scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"host", b"localhost")], "query_string": b""}

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        told.append(message)

    await app(scope, receive, send)
    return int(told[0]["status"])


def test_a_look_that_failed_is_made_again_although_nothing_has_changed(empty: Service, reload: Reload) -> None:
    place(empty.cache, empty.keys)
    ModelCache(empty.cache).write_status(Status(log=LogStatus(waiting_bytes=10**400)))
    for _ in range(2):
        with pytest.raises(OverflowError):
            asyncio.run(reload.look())
    ModelCache(empty.cache).write_status(Status())
    asyncio.run(reload.look())
    assert (reload.current is not None, reload.refused) == (True, [])


def test_whatever_goes_wrong_with_a_version_is_a_refusal(
    empty: Service, reload: Reload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also that there is no memory for it, which cannot be had for a test."""

    def fail(*_: object) -> None:
        raise MemoryError

    current = place(empty.cache, empty.keys)
    monkeypatch.setattr(ModelCache, "load_verified", fail)
    asyncio.run(reload.look())
    (refused,) = reload.refused
    assert (refused.version, refused.digest, refused.reason) == ("1", current.digest, "MemoryError")


def test_what_the_attendant_refuses_is_told_and_counted(empty: Service) -> None:
    place(empty.cache, empty.keys)
    empty.start()
    empty.stop()  # and its attendant with it, which would write its own
    ModelCache(empty.cache).write_status(Status(refused_total=3))
    empty.start()
    _until(lambda: "ml_lifecycle_model_refused_total 3.0" in empty.get("/metrics").body.decode(), 2)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_without_a_model_all_of_it_ends_if_it_is_told_to_and_not_as_if_somebody_had_ended_it(
    empty: Service, workers: str
) -> None:
    """Whoever starts services takes 0, and an end by SIGTERM, for an end that was asked for."""
    empty.extra |= {"API_START_SECONDS": "1", "API_WORKERS": workers}
    empty.start(until_ready=False)
    below = psutil.Process(empty.pid).children(recursive=True)
    assert empty.server is not None
    assert empty.server.process is not None
    assert empty.server.process.wait(30) == STARTUP_FAILURE
    _, alive = psutil.wait_procs(below, timeout=30)
    assert alive == []
    assert any("API_START_SECONDS" in str(line.get("reason")) for line in empty.log_lines())
    assert not any("Traceback" in str(line) for line in empty.log_lines())


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
