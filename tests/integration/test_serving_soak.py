"""The service at full load while everything around it changes, and what is left of its answers after a kill.

A tracking server over HTTP, real keys, and versions that answer alike but decide by different thresholds, so that an
answer with parts of two of them is seen. Run with ``-s`` to read the figures.
"""

import contextlib
import fcntl
import itertools
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from mlflow import MlflowClient

import candidates
import load as loads
from candidates import NAME, World
from load import Answers, Row, Told, Version, load
from ml_lifecycle.api.log_segments import segments_in
from ml_lifecycle.api.log_shipping import ship
from ml_lifecycle.api.model_cache import ModelCache
from ml_lifecycle.model_folder import MODEL
from ml_lifecycle.prediction_columns import SCHEMA
from servers import HOST, Server, answers, free_port, plain_environment
from service import ALIAS, Service

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]

SOAK_SECONDS = 60
WORKERS_SECONDS = 10
#: What may take a while on a slow machine.
SECONDS = 120
MOVE_SECONDS = 1.0
DOWN_SECONDS = 4.0
THRESHOLDS = (0.25, 0.375, 0.5, 0.75)
BAD_THRESHOLD = 0.625


class Registry:
    """A tracking server with versions of a small model; all but the last are good."""

    def __init__(self, folder: Path) -> None:
        """Nothing happens before ``run``."""
        self.folder, self.uri = folder, f"http://{HOST}:{(port := free_port())}"
        command = ["mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1", "--serve-artifacts"]
        self.server = Server(
            [*command, "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder)],
            {**plain_environment(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            folder / "registry.log",
            lambda: answers(f"{self.uri}/health"),
        )
        self.good: dict[str, Version] = {}
        self.bad = ""

    @contextlib.contextmanager
    def run(self) -> Iterator["Registry"]:
        """Start it and register the versions; stop it at the end."""
        self.server.start()
        try:
            self._fill()
            yield self
        finally:
            self.server.stop()
            mlflow.set_tracking_uri(None)

    def _fill(self) -> None:
        mlflow.set_tracking_uri(self.uri)
        self.keys = candidates.keys(self.folder)
        with mlflow.start_run(experiment_id=mlflow.create_experiment("soak")):
            world = World(self.folder, self.keys, candidates.registrar(self.folder, self.keys))
            for threshold in (*THRESHOLDS, BAD_THRESHOLD):
                made = candidates.candidate(candidates.small_model(threshold))
                version = world.add(made)
                self.good[version.number] = Version(NAME, version.number, made.model.digest, threshold)
        self.bad = version.number
        self._change(version.model_id)
        del self.good[self.bad]

    def _change(self, model_id: str | None) -> None:
        """Change a version after it was signed: its model is that of another threshold."""
        (stored,) = self.folder.glob(f"*/models/{model_id}/artifacts/{MODEL}")
        other = candidates.small_model(BAD_THRESHOLD + 0.0625)
        assert stored.read_bytes() != other.content
        stored.write_bytes(other.content)

    def point_to(self, number: str) -> None:
        """Move the alias."""
        MlflowClient(self.uri).set_registered_model_alias(NAME, ALIAS, number)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Run a registry with four good versions and a bad one."""
    with Registry(tmp_path_factory.mktemp("registry")).run() as found:
        yield found


@pytest.fixture
def service(registry: Registry, tmp_path: Path) -> Iterator[Service]:
    """Describe a service of the registry; whoever starts it need not stop it."""
    registry.point_to(next(iter(registry.good)))
    at_full_speed = {"COVERAGE_PROCESS_START": ""}
    found = Service(tmp_path, registry.keys, tracking_uri=registry.uri, extra=at_full_speed)
    try:
        yield found
    finally:
        found.stop()


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def _ready(service: Service) -> Any:
    return service.get("/ready").json


def _move(registry: Registry, service: Service, number: str) -> None:
    """Move the alias, and see that the service follows."""
    registry.point_to(number)
    _until(lambda: _ready(service)["model"]["version"] == number, f"version {number} did not come to answer")


def _try_bad_version(registry: Registry, service: Service) -> None:
    """Give the alias to the version that was changed, for a while."""
    before = _ready(service)["model"]
    registry.point_to(registry.bad)
    _until(lambda: [one["version"] for one in _ready(service)["refused"]] == [registry.bad], "it was not refused")
    time.sleep(MOVE_SECONDS)
    assert _ready(service)["model"] == before
    assert _metric(service, "ml_lifecycle_model_refused_total") == 1
    registry.point_to(before["version"])
    _until(lambda: _ready(service)["refused"] == [], "it stayed refused without the alias")


def _restart_registry(registry: Registry, service: Service) -> None:
    """Kill the registry, and start it again after a while."""
    before = _ready(service)["model"]
    registry.server.kill()
    _until(lambda: _ready(service)["registry"]["error"] is not None, "nobody noticed that the registry is away")
    time.sleep(DOWN_SECONDS)
    found = _ready(service)
    assert (found["ready"], found["model"], found["source"]) == (True, before, "cache")
    registry.server.start()
    _until(lambda: _ready(service)["registry"]["error"] is None, "nobody noticed that the registry is back")


def _metric(service: Service, name: str) -> float:
    """The sum of a metric over its labels."""
    page = service.get("/metrics").body.decode()
    found = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", page, re.MULTILINE)
    return sum(map(float, found))


def _resident(service: Service) -> float:
    """Memory of the process that answers, in MiB."""
    return psutil.Process(service.pid).memory_info().rss / 2**20


def _ship_the_rest(service: Service) -> None:
    """Let the attendant of a killed service end, and another service ship what it left."""
    lock = ModelCache(service.cache).lock
    _until(lambda: _is_free(lock), "the attendant did not end")
    service.start()
    _until(lambda: not segments_in(service.cache / "log"), "not all was shipped")
    service.stop()
    assert not list((service.cache / "log").iterdir())


def _is_free(lock: Path) -> bool:
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _logged(service: Service) -> list[Row]:
    """All that the prediction log holds, with what an attendant on a slow machine had no time to ship at the end."""
    shipped = ship(service.cache / "log", str(service.log_folder))
    assert (shipped.open, shipped.waiting, shipped.torn, shipped.damaged) == (0, 0, 0, 0)
    columns = "request_id request_key inputs probability decision model_version model_digest threshold correlation_id"
    files = ds.dataset(service.log_folder, schema=pa.schema(SCHEMA), format="parquet")
    table = files.to_table(columns=columns.split())
    return list(itertools.starmap(Row, zip(*(column.to_pylist() for column in table.columns), strict=True)))


def _beyond(answered: list[Row], logged: list[Row]) -> list[Row]:
    """See that every answer is logged once, as it was given; return what is logged and was not answered."""
    times = Counter(row.request_id for row in logged)
    assert len(answered) == len({row.request_id for row in answered})
    assert [] == [row for row in answered if times[row.request_id] != 1][:3]
    by_id = {row.request_id: row for row in logged}
    assert [] == [(row, by_id[row.request_id]) for row in answered if by_id[row.request_id] != row][:3]
    known = {row.request_id for row in answered}
    return [row for row in logged if row.request_id not in known]


def _taken_apart(told: Told, registry: Registry) -> Answers:
    """See that no answer has parts of two versions, or is of one that may not answer."""
    found = loads.answers(told.exchanges, registry.good)
    assert [] == found.wrong[:3]
    return found


def _nothing_failed(told: Told) -> None:
    assert [] == told.failures[:3]
    assert told.refused == 0


def _figures(told: Told, seconds: float) -> str:
    p50, p99 = loads.percentiles(told.exchanges)
    rows = sum(len(exchange.rows) for exchange in told.exchanges)
    count = len(told.exchanges)
    return f"{count} requests, {rows} rows, {count / seconds:.0f} requests/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms"


def test_nothing_fails_and_nothing_is_lost_while_everything_around_it_changes(
    registry: Registry, service: Service, tmp_path: Path
) -> None:
    """Alias moves, a version that was changed, and a registry that is killed; then the service itself is."""
    service.start()
    moves = itertools.cycle([*list(registry.good)[1:], next(iter(registry.good))])
    with load(tmp_path, service.port) as load_:
        started, resident = time.monotonic(), _resident(service)
        made = _move_for(registry, service, moves, SOAK_SECONDS / 4)
        _try_bad_version(registry, service)
        made += _move_for(registry, service, moves, SOAK_SECONDS / 8)
        _restart_registry(registry, service)
        made += _move_for(registry, service, moves, SOAK_SECONDS - (time.monotonic() - started))
        resident_after, reloads = _resident(service), _metric(service, "ml_lifecycle_model_reloads_total")
        unlogged = _metric(service, "ml_lifecycle_prediction_log_unlogged_rows_total")
        told = load_.end()
        seconds = time.monotonic() - started
    service.kill()
    _nothing_failed(told)
    found = _taken_apart(told, registry)
    print(_figures(told, seconds), f"{reloads:.0f} reloads, {resident:.0f} then {resident_after:.0f} MiB")  # noqa: T201
    assert unlogged == 0
    assert reloads == made + 1
    assert set(found.versions) == set(registry.good)
    assert made >= len(registry.good)
    _ship_the_rest(service)
    assert [] == _beyond(found.rows, _logged(service))


def _move_for(registry: Registry, service: Service, moves: Iterator[str], seconds: float) -> int:
    """Move the alias again and again; return how often."""
    deadline, made = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        _move(registry, service, next(moves))
        time.sleep(MOVE_SECONDS)
        made += 1
    return made


def test_what_was_answered_before_a_kill_under_load_is_in_the_log(
    registry: Registry, service: Service, tmp_path: Path
) -> None:
    """What is logged beyond that are answers that were on their way, at most one on each connection."""
    service.start()
    with load(tmp_path, service.port) as load_:
        time.sleep(MOVE_SECONDS)
        service.kill()
        told = load_.end()
    found = _taken_apart(told, registry)
    in_flight = {row for failure in told.failures for row in failure.rows}
    _ship_the_rest(service)
    beyond = _beyond(found.rows, _logged(service))
    lost = {row.correlation_id for row in beyond}
    print(f"{len(found.rows)} rows answered; of {len(told.failures)} requests without an answer {len(lost)} are logged")  # noqa: T201
    assert {row.inputs for row in beyond} <= in_flight
    assert len(beyond) == len({row.inputs for row in beyond})
    assert len(lost) <= load_.processes * load_.connections


@pytest.mark.parametrize(
    ("workers", "tell"),
    [("1", os.kill), ("2", os.kill), ("2", os.killpg)],
    ids=["one process", "two", "two, each told itself"],
)
@pytest.mark.parametrize("is_kept", [True, False], ids=["connections are kept", "a connection for each request"])
def test_a_service_that_is_told_to_end_answers_all_that_it_took(
    registry: Registry, service: Service, tmp_path: Path, workers: str, tell: Callable[[int, int], None], is_kept: bool
) -> None:
    """Callers go on until they are told to close, and then nobody listens: that is no failure, anything else is."""
    service.extra["API_WORKERS"] = workers
    service.start()
    with load(tmp_path, service.port, is_kept=is_kept) as load_:
        tell(service.pid, signal.SIGTERM)
        assert service.server is not None
        assert service.server.process is not None
        service.server.process.wait(SECONDS)
        told = load_.end()
    assert [] == told.failures[:3]
    assert told.refused == load_.processes * load_.connections
    assert [] == _beyond(_taken_apart(told, registry).rows, _logged(service))


def test_two_processes_answer_as_one(registry: Registry, service: Service, tmp_path: Path) -> None:
    """They have one attendant, count together, and follow the alias; no answer mixes, fails or is lost."""
    service.extra["API_WORKERS"] = "2"
    service.start()
    moves = itertools.cycle([*list(registry.good)[1:], next(iter(registry.good))])
    with load(tmp_path, service.port) as load_:
        started = time.monotonic()
        _move_for(registry, service, moves, WORKERS_SECONDS)
        told = load_.end()
        seconds = time.monotonic() - started
    attendants = [process.pid for process in psutil.Process(service.pid).children(recursive=True) if _attends(process)]
    counted = _metric(service, 'ml_lifecycle_http_requests_total\\{route="/predict",status="200"\\}')
    service.stop()
    _nothing_failed(told)
    found = _taken_apart(told, registry)
    print(_figures(told, seconds))  # noqa: T201
    assert len(attendants) == 1
    assert counted == len(told.exchanges)
    assert len(set(found.versions)) > 1
    assert [] == _beyond(found.rows, _logged(service))


def _attends(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return "ml_lifecycle.api.attendant" in process.cmdline()
    return False
