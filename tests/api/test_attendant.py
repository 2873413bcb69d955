"""The attendant: one for each service, with its processes in any number and dying in any order."""

import contextlib
import fcntl
import http.server
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pyarrow.dataset as parquet
import pytest

import candidates
import servers
from candidates import NAME, World, candidate, small_model
from ml_lifecycle.api.attendant import Attendant, Orders
from ml_lifecycle.api.duties import NICENESS
from ml_lifecycle.api.log_entry import Entry
from ml_lifecycle.api.log_segments import Segments
from ml_lifecycle.api.model_cache import ModelCache
from ml_lifecycle.registry import versions
from ml_lifecycle.registry.versions import Version
from ml_lifecycle.signing.keys import SIGNING_KEY, VERIFYING_KEYS

pytestmark = pytest.mark.filterwarnings("default")  # of third parties, as in tests/registry/test_versions.py

LONG = 60.0
#: A serving process as far as the attendant is concerned.
WORKER = """
import sys, time
from ml_lifecycle.api.attendant import Attendant, Orders

attendant = Attendant(Orders.model_validate_json(sys.argv[1]), look_seconds=0.1)
attendant.start()
if not sys.stdin.buffer.read():
    attendant.stop()
"""


@dataclass
class Service:
    """A service on a registry, and who serves in it."""

    orders: Orders
    workers: "list[subprocess.Popen[bytes]]"
    attendants: list[Attendant]

    @property
    def cache(self) -> ModelCache:
        """Its cache."""
        return ModelCache(self.orders.cache, self.orders.model, self.orders.alias)

    def worker(self) -> "subprocess.Popen[bytes]":
        """Start one more process that serves."""
        command = [sys.executable, "-c", WORKER, self.orders.model_dump_json()]
        self.workers.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        return self.workers[-1]

    def attendant(self) -> Attendant:
        """Let this process be one that serves."""
        self.attendants.append(Attendant(self.orders, look_seconds=0.1))
        self.attendants[-1].start()
        return self.attendants[-1]

    def is_locked(self) -> bool:
        """Whether somebody holds the lock."""
        with self.cache.lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def running(self) -> list[int]:
        """The attendants of this cache that live, whoever started them."""
        return [process.pid for process in psutil.process_iter() if _holds(process, self.cache.lock)]


def _holds(process: psutil.Process, lock: Path) -> bool:
    try:
        if "ml_lifecycle.api.attendant" not in process.cmdline():
            return False
        return any(_leads_to(entry, lock) for entry in Path(f"/proc/{process.pid}/fd").iterdir())
    except (psutil.Error, OSError):  # it has just ended
        return False


def _leads_to(descriptor: Path, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):  # just closed
        return descriptor.readlink() == path
    return False


def until(holds: Callable[[], Any], seconds: float = LONG) -> Any:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.02)  # between two questions
    return found


@pytest.fixture(autouse=True)
def _without_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (SIGNING_KEY, VERIFYING_KEYS, "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Make an empty registry the current one."""
    with candidates.world(tmp_path) as made:
        yield made


@pytest.fixture
def service(world: World) -> Iterator[Service]:
    """Describe a service, and end what it started."""
    orders = Orders(
        model=NAME,
        alias="production",
        tracking_uri=mlflow.get_tracking_uri(),
        cache=world.folder / "cache",
        keys_folder=world.keys.folder,
        prediction_log=str(world.folder / "prediction_log"),
        reload_seconds=0.1,
    )
    made = Service(orders, [], [])
    yield made
    for attendant in made.attendants:
        attendant.stop()
    for worker in made.workers:
        with worker:
            worker.kill()
    until(lambda: not made.running())


def point_to(world: World, threshold: float) -> Version:
    """Register a model of its own and let the alias point to it."""
    version = world.add(candidate(small_model(threshold)))
    versions.set_alias(NAME, "production", version.number)
    return version


def serves(service: Service, version: Version) -> bool:
    """Whether a serving process would load a version, verified."""
    current = service.cache.read_current()
    if current is None or current.version != version.number:
        return False
    keys = candidates.Keys(service.orders.keys_folder)
    return service.cache.load_verified(current, keys).model.digest == version.digest


def test_it_fetches_follows_the_alias_and_tells_what_it_finds(world: World, service: Service) -> None:
    """All that a serving process sees of it are files."""
    first = point_to(world, 0.5)
    service.attendant()
    until(lambda: serves(service, first))
    second = point_to(world, 0.75)
    until(lambda: serves(service, second))
    asked = until(lambda: service.cache.read_status().asked_at)
    until(lambda: service.cache.read_status().asked_at > asked)
    third = world.add(candidate(small_model(0.9)))
    (world.stored(third).path / "model.sig").unlink()
    versions.set_alias(NAME, "production", third.number)
    refused = until(lambda: service.cache.read_status().refused)
    assert ([third.number], 1) == ([entry.version for entry in refused], service.cache.read_status().refused_total)
    assert serves(service, second)
    mlflow.MlflowClient().delete_registered_model_alias(NAME, "production")
    until(lambda: "carries the alias" in str(service.cache.read_status().error))
    assert service.cache.read_status().refused == ()
    assert serves(service, second)


def entry(number: int) -> Entry:
    """Make an answer to be logged."""
    return Entry(
        request_ids=[f"20130101-{number:032x}"],
        keys=[None],
        probabilities=[0.5],
        decisions=["yes"],
        model_name=NAME,
        model_version="1",
        model_digest="d" * 64,
        threshold=0.5,
        scored_at=1_357_000_000_000_000,
        protocol="predict",
        correlation_id=None,
        form="records",
        inputs=b'{"share": 0.5}',
    )


def logged(service: Service) -> int:
    """Count the rows of the prediction log."""
    folder = Path(service.orders.prediction_log)
    return parquet.dataset(folder).count_rows() if folder.exists() else 0


def test_it_ships_the_log_while_it_works_and_when_it_ends(world: World, service: Service) -> None:
    """What a serving process closes last goes along."""
    point_to(world, 0.5)
    segments = Segments(service.orders.log, "worker", 2**20, 2**20, 3600.0)
    segments.append(entry(1))
    segments.close()
    attendant = service.attendant()
    until(lambda: service.cache.read_status().log.shipped_rows == 1)
    assert logged(service) == 1
    segments = Segments(service.orders.log, "worker", 2**20, 2**20, 3600.0)
    for number in (2, 3):
        segments.append(entry(number))
    segments.close()
    attendant.stop()
    status = service.cache.read_status().log
    assert (logged(service), status.shipped_rows, status.waiting_bytes, status.error) == (3, 3, 0, None)


def test_a_log_that_cannot_be_shipped_is_told_and_stops_nothing(world: World, service: Service) -> None:
    """And another attendant goes on where it stopped."""
    version = point_to(world, 0.5)
    log = Path(service.orders.prediction_log)
    log.write_bytes(b"a file where the log belongs")
    segments = Segments(service.orders.log, "worker", 2**20, 2**20, 3600.0)
    segments.append(entry(1))
    segments.close()
    attendant = service.attendant()
    until(lambda: service.cache.read_status().log.error)
    assert service.cache.read_status().log.waiting_bytes > 0
    until(lambda: serves(service, version))
    attendant.stop()
    log.unlink()
    service.attendant()
    until(lambda: service.cache.read_status().log.shipped_rows == 1)
    assert (logged(service), service.cache.read_status().log.error) == (1, None)


def test_its_counts_go_on_where_the_last_one_ended(world: World, service: Service) -> None:
    """Serving processes add up what is new."""
    bad = [world.add(candidate(small_model(threshold))) for threshold in (0.5, 0.75)]
    first = service.attendant()
    for total, version in enumerate(bad, start=1):
        (world.stored(version).path / "model.sig").unlink()
        versions.set_alias(NAME, "production", version.number)
        until(lambda total=total: service.cache.read_status().refused_total == total)
    first.stop()
    asked = service.cache.read_status().asked_at
    service.attendant()
    until(lambda: service.cache.read_status().asked_at != asked)
    assert service.cache.read_status().refused_total == 2


def test_several_processes_have_exactly_one(world: World, service: Service) -> None:
    """Whoever comes first starts it, and the others leave it at that."""
    version = point_to(world, 0.5)
    for _ in range(3):
        service.worker()
    until(lambda: serves(service, version))
    (one,) = service.running()
    mine = service.attendant()
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:  # several looks of each
        assert (service.running(), mine.starts) == ([one], 0)


def test_an_attendant_that_dies_is_replaced_and_leaves_no_zombie(world: World, service: Service) -> None:
    """Its lock is free with it, whatever it was doing."""
    first = point_to(world, 0.5)
    attendant = service.attendant()
    until(lambda: serves(service, first))
    old = attendant.pid
    assert old is not None
    os.kill(old, signal.SIGKILL)
    second = point_to(world, 0.75)
    until(lambda: serves(service, second))
    assert service.running() == [attendant.pid]
    assert (attendant.pid != old, attendant.starts) == (True, 2)
    assert not psutil.pid_exists(old)


def test_another_process_replaces_the_attendant_of_one_that_is_killed(world: World, service: Service) -> None:
    """It ends with who started it, and one of the others starts the next."""
    first = point_to(world, 0.5)
    starter = service.worker()
    until(lambda: serves(service, first))
    (old,) = service.running()
    other = service.attendant()
    starter.kill()
    until(lambda: other.pid, 10)
    assert service.running() == [other.pid]
    assert other.pid != old
    second = point_to(world, 0.75)
    until(lambda: serves(service, second))


@pytest.mark.parametrize("after", ["at once", "when it works"])
def test_it_ends_when_the_process_that_started_it_is_killed(world: World, service: Service, after: str) -> None:
    """Within seconds, and the lock is free."""
    version = point_to(world, 0.5)
    worker = service.worker()
    until(service.running)
    if after == "when it works":
        until(lambda: serves(service, version))
    worker.kill()
    until(lambda: not service.is_locked(), 10)
    until(lambda: not service.running(), 1)


def test_it_ends_with_the_last_process(world: World, service: Service) -> None:
    """Without being killed, and well within its time."""
    version = point_to(world, 0.5)
    worker = service.worker()
    until(lambda: serves(service, version))
    assert worker.stdin is not None
    begun = time.monotonic()
    worker.stdin.close()
    assert worker.wait(LONG) == 0
    assert time.monotonic() - begun < 10
    assert not service.running()
    assert not service.is_locked()


def test_what_a_terminal_sends_to_all_does_not_end_it(world: World, service: Service) -> None:
    """It ends after who started it, which may have answers to log."""
    first = point_to(world, 0.5)
    attendant = service.attendant()
    until(lambda: serves(service, first))
    pid = attendant.pid
    assert pid is not None
    assert os.getsid(pid) == pid != os.getsid(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    second = point_to(world, 0.75)
    until(lambda: serves(service, second))
    assert (attendant.pid, attendant.starts) == (pid, 1)


def test_one_that_keeps_dying_is_started_less_and_less_often(service: Service) -> None:
    """A mistake that ends each of them does not keep the machine busy."""
    attendant = Attendant(service.orders, look_seconds=0.2)
    service.attendants.append(attendant)
    attendant.start()
    starts: list[float] = []
    deadline = time.monotonic() + 9
    while time.monotonic() < deadline:
        if attendant.starts > len(starts):
            starts.append(time.monotonic())
        if attendant.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(attendant.pid, signal.SIGKILL)
        time.sleep(0.02)  # between two questions
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert 4 <= len(starts) <= 8
    assert gaps[-1] > 4 * gaps[0]


def test_a_registry_that_never_answers_does_not_hold_up_the_end(service: Service) -> None:
    """The question is left open."""
    with socket.create_server((servers.HOST, 0)) as silent:
        uri = f"http://{servers.HOST}:{silent.getsockname()[1]}"
        service.orders = service.orders.model_copy(update={"tracking_uri": uri})
        attendant = service.attendant()
        connection, _ = silent.accept()
        with connection:
            begun = time.monotonic()
            attendant.stop()
    assert time.monotonic() - begun < 5
    assert not service.running()


class _Stalling(http.server.BaseHTTPRequestHandler):
    """A store that lists one file and never sends it."""

    asked, over = threading.Event(), threading.Event()

    def do_GET(self) -> None:
        if "?path=" not in self.path:
            self.asked.set()
            self.over.wait(LONG)
            return
        listed = json.dumps({"files": [{"path": "model.onnx", "is_dir": False, "file_size": 1}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(listed)))
        self.end_headers()
        self.wfile.write(listed)

    def log_message(self, *_: Any) -> None:
        """Not on the tests' output."""


def test_a_fetch_that_is_under_way_does_not_hold_up_the_end(world: World, service: Service) -> None:
    """What it left is removed when the next attendant starts."""
    with http.server.ThreadingHTTPServer((servers.HOST, 0), _Stalling) as store:
        threading.Thread(target=store.serve_forever).start()
        source = f"http://{servers.HOST}:{store.server_port}/mlflow-artifacts/artifacts/model"
        client = mlflow.MlflowClient()
        client.create_registered_model(NAME)
        client.create_model_version(NAME, source, tags={versions.MODEL_DIGEST: "0" * 64})
        versions.set_alias(NAME, "production", "1")
        attendant = service.attendant()
        assert _Stalling.asked.wait(LONG)
        begun = time.monotonic()
        attendant.stop()
        took = time.monotonic() - begun
        _Stalling.over.set()
        store.shutdown()
    assert took < 4
    assert any(service.cache.incoming.iterdir())
    mlflow.MlflowClient().delete_registered_model_alias(NAME, "production")
    service.attendant()
    until(lambda: not list(service.cache.incoming.glob("*")))


def test_one_that_does_not_end_is_killed(world: World, service: Service) -> None:
    """A process that stops waits for a bounded time."""
    version = point_to(world, 0.5)
    attendant = service.attendant()
    until(lambda: serves(service, version))
    pid = attendant.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    attendant.stop(seconds=0.5)
    assert 0.4 < time.monotonic() - begun < 5
    assert not psutil.pid_exists(pid)
    attendant.stop()  # again: there is nothing to do


def test_a_cache_that_cannot_be_made_is_told_and_tried_again(service: Service, world: World) -> None:
    """A file stands in its place."""
    version = point_to(world, 0.5)
    service.orders.cache.write_bytes(b"")
    attendant = service.attendant()
    told = until(lambda: attendant.error)
    assert f"The attendant of {service.orders.cache} cannot be started: " in told
    service.orders.cache.unlink()
    until(lambda: serves(service, version))
    assert attendant.error is None


def test_a_folder_that_refuses_is_told_and_stops_nothing(service: Service, world: World) -> None:
    """The attendant lives through what it does not expect."""
    version = point_to(world, 0.5)
    service.orders.cache.mkdir()
    (service.orders.cache / "models").write_bytes(b"")
    service.attendant()
    until(lambda: serves(service, version) or (service.cache.read_status().error or "").startswith("FileExists"))
    (service.orders.cache / "models").unlink()
    until(lambda: serves(service, version))


def test_nobody_reads_a_secret_on_its_command_line_in_its_lines_or_files(
    service: Service, capfd: pytest.CaptureFixture[str]
) -> None:
    """The address of a tracking server may hold a password."""
    uri = f"http://somebody:hidden@{servers.HOST}:{servers.free_port()}"
    service.orders = service.orders.model_copy(update={"tracking_uri": uri})
    attendant = service.attendant()
    until(lambda: "does not answer" in str(service.cache.read_status().error))
    command = psutil.Process(attendant.pid).cmdline()
    attendant.stop()
    lines = capfd.readouterr().err.splitlines()
    told = [json.loads(line) for line in lines if line.startswith("{")]
    assert {"attendant started", "no version can be had", "attendant ended"} <= {line["event"] for line in told}
    assert all({"at", "level", "event"} <= set(line) for line in told)
    written = [path.read_text(errors="replace") for path in service.orders.cache.rglob("*") if path.is_file()]
    assert "hidden" not in " ".join([*command, *lines, *written, repr(service.orders)])


def test_a_disk_that_refuses_from_the_start_is_told_in_one_line(service: Service) -> None:
    """A file stands in place of the cache."""
    service.orders.cache.write_bytes(b"")
    command = [sys.executable, "-m", "ml_lifecycle.api.attendant"]
    given = service.orders.model_dump_json().encode() + b"\n"
    ran = subprocess.run(command, input=given, capture_output=True, check=False)
    assert ran.returncode == 1
    last = json.loads(ran.stderr.splitlines()[-1])
    assert (last["event"], "FileExistsError" in last["error"]) == ("the attendant cannot work", True)


def test_a_duty_that_fails_ends_it_so_that_another_is_started(service: Service) -> None:
    """MLflow cannot be imported here."""
    broken = service.orders.cache.parent / "broken"
    (broken / "mlflow").mkdir(parents=True)
    (broken / "mlflow" / "__init__.py").write_text("raise ImportError('broken')", encoding="utf-8")
    command = [sys.executable, "-m", "ml_lifecycle.api.attendant"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(broken)}
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(service.orders.model_dump_json().encode() + b"\n")
        process.stdin.flush()  # and it stays open
        assert process.wait(LONG) == 1
        last = json.loads(process.stderr.read().splitlines()[-1])
    assert (last["event"], last["error"]) == ("the attendant fails", "ImportError: broken")


@pytest.mark.parametrize("given", [b"", b"no orders\n"])
def test_by_itself_it_has_nothing_to_do_and_says_so(given: bytes) -> None:
    """In one line."""
    command = [sys.executable, "-m", "ml_lifecycle.api.attendant"]
    ran = subprocess.run(command, input=given, capture_output=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.decode().startswith("Error: the standard input holds no orders.")
    assert ran.stderr.count(b"\n") == 1


def test_it_leaves_the_processors_to_whoever_answers(world: World, service: Service) -> None:
    """As soon as it has looked once: in its threads, and where sessions are groups to the scheduler, as a whole."""
    point_to(world, 0.5)
    service.worker()
    (attendant,) = until(service.running)
    threads = Path(f"/proc/{attendant}/task")
    until(lambda: any(os.getpriority(os.PRIO_PROCESS, int(task.name)) == NICENESS for task in threads.iterdir()))
    group = Path(f"/proc/{attendant}/autogroup")
    until(lambda: not group.exists() or group.read_text().strip().endswith(f"nice {NICENESS}"))
