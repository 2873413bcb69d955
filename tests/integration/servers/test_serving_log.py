"""The prediction log of the service on an object store, with the keys of the service, which may do little."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import s3fs

import log_writer
import servers
from log_writer import DAY, NEXT_DAY, entry, ids
from ml_lifecycle import prediction_log, request_id
from ml_lifecycle.api import log_segments, log_shipping
from ml_lifecycle.api.log_shipping import Shipped, ship
from servers import HOST, Keys, ObjectStore

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]

LOG = "s3://ml-data/07_model_output/prediction_log"


@dataclass(frozen=True)
class Site:
    """An object store of one's own, with its identities."""

    store: ObjectStore
    identities: dict[str, Keys]

    def options(self, identity: str = "serving") -> dict[str, Any]:
        """How to open it with the keys of an identity."""
        keys = self.identities[identity]
        return {"key": keys.key, "secret": keys.secret, "client_kwargs": {"endpoint_url": self.store.endpoint}}

    def variables(self, identity: str = "serving") -> dict[str, str]:
        """What a process must know to use it."""
        keys = self.identities[identity]
        return {
            **servers.plain_environment(),
            "AWS_ENDPOINT_URL": self.store.endpoint,
            "AWS_ACCESS_KEY_ID": keys.key,
            "AWS_SECRET_ACCESS_KEY": keys.secret,
        }

    def objects(self) -> list[str]:
        """The files of the log."""
        return sorted(self.store.files().find(LOG))

    def keys_found(self, names: list[str]) -> list[str | None]:
        """The keys of the answers with these ids, as an auditor finds them."""
        found = [prediction_log.find(LOG, name, self.options("auditor")) for name in names]
        return [answer and answer.request_key for answer in found]


@pytest.fixture(scope="module")
def site(kind: str, known_secrets: set[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Start a store, with its buckets and identities."""
    with servers.object_store(kind, tmp_path_factory.mktemp("store")) as store:
        names = ("pipelines", "tracking", "serving", "auditor")
        identities = {name: Keys(name) if store.is_minio else store.root for name in names}
        servers.initialise(store, identities)
        known_secrets |= {store.root.secret, *(keys.secret for keys in identities.values())}
        yield Site(store, identities)


@pytest.fixture
def empty(site: Site) -> Iterator[Site]:
    """Empty the log afterwards."""
    yield site
    files = site.store.files()
    for path in site.objects():
        files.rm_file(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with three closed segments, of 2, 1 and 1 answers, the first one over midnight."""
    for number, added in enumerate([[entry(0), entry(1, day=NEXT_DAY)], [entry(2)], [entry(3)]]):
        writer = log_writer.segments(tmp_path / "log", f"w{number}")
        for one in added:
            writer.append(one)
        writer.close()
    return tmp_path / "log"


NAMES = [*ids(0), *ids(1, day=NEXT_DAY), *ids(2, 2)]
KEYS = [f"flight {number}" for number in range(4)]


def expected(segments: list[Path]) -> list[str]:
    """The objects that these segments become."""
    days = {DAY: segments, NEXT_DAY: segments[:1]}
    place = LOG.removeprefix("s3://")
    names = (request_id.folder_of(request_id.day_of(f"{day}-{'0' * 32}")) for day in days)
    return [
        f"{place}/{name}/{segment.stem}.parquet"
        for name, of in zip(names, days.values(), strict=True)
        for segment in of
    ]


def test_the_service_writes_what_an_auditor_reads(empty: Site, folder: Path) -> None:
    """With the keys of the service each answer arrives once, and an auditor finds it."""
    segments = log_segments.segments_in(folder)
    assert Shipped(segments=3, rows=4) == ship(folder, LOG, empty.options())
    assert ([], expected(segments)) == (log_segments.segments_in(folder), empty.objects())
    assert KEYS == empty.keys_found(NAMES)
    assert 4 == sum(len(prediction_log_rows(empty, path)) for path in empty.objects())


def prediction_log_rows(site: Site, path: str) -> list[str]:
    """The ids in one file."""
    import pyarrow.parquet as pq

    with site.store.files().open(path, "rb") as file:
        return list(pq.read_table(file)["request_id"].to_pylist())


def test_nothing_but_writing_objects_is_asked(empty: Site, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No bucket and no folder is listed, made or looked at: a policy that allows only PutObject is enough."""
    asked, ask = [], s3fs.S3FileSystem._call_s3

    async def note(self: s3fs.S3FileSystem, method: str, *args: object, **kwargs: object) -> object:
        asked.append(method)
        return await ask(self, method, *args, **kwargs)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", note)
    ship(folder, LOG, empty.options())
    assert ["put_object"] * 4 == asked


@pytest.mark.minio
def test_the_service_writes_nowhere_else(site: Site, folder: Path) -> None:
    """Beside the log the keys of the service are refused; the error says so, and every segment waits."""
    before = log_segments.segments_in(folder)
    done = ship(folder, "s3://ml-data/07_model_output/elsewhere", site.options())
    assert (0, 3) == (done.segments, done.waiting)
    assert "refuses what is asked with these keys (AccessDenied in PutObject)" in str(done.error)
    assert before == log_segments.segments_in(folder)


def test_the_store_is_away_then_back(empty: Site, folder: Path) -> None:
    """While the store is away nothing is lost, and more is appended; back again, each answer arrives once."""
    before = {segment: segment.read_bytes() for segment in log_segments.segments_in(folder)}
    assert empty.store.server is not None
    writer = log_writer.segments(folder, "v")
    empty.store.server.stop()
    try:
        for number in (4, 5, 6):
            done = ship(folder, LOG, empty.options())
            assert (0, True) == (done.segments, "does not answer" in str(done.error))
            writer.append(entry(number))
            writer.rotate_if_due()
    finally:
        empty.store.server.start()
    writer.close()
    kept = log_segments.segments_in(folder)
    assert before == {segment: segment.read_bytes() for segment in kept if segment in before}
    done = ship(folder, LOG, empty.options())
    assert (None, 7, []) == (done.error, done.rows, log_segments.segments_in(folder))
    assert [*KEYS, "flight 4", "flight 5", "flight 6"] == empty.keys_found([*NAMES, *ids(4, 3)])
    rows = [name for path in empty.objects() for name in prediction_log_rows(empty, path)]
    assert sorted([*NAMES, *ids(4, 3)]) == sorted(rows)


def test_a_shipper_killed_before_it_deletes(empty: Site, folder: Path) -> None:
    """What was uploaded is uploaded again, under the same names: each answer is there once."""
    segments = log_segments.segments_in(folder)
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom ml_lifecycle.api.log_shipping import ship\n"
        "Path.unlink = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\nship(Path(sys.argv[1]), sys.argv[2])"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(folder), LOG], check=False, env=empty.variables())
    first = [path for path in expected(segments) if segments[0].stem in path]
    assert (-9, segments, first) == (killed.returncode, log_segments.segments_in(folder), empty.objects())
    assert 4 == ship(folder, LOG, empty.options()).rows
    assert (expected(segments), KEYS) == (empty.objects(), empty.keys_found(NAMES))


def test_the_command_ships_what_is_left(empty: Site, folder: Path) -> None:
    """With the variables of the service, and nothing else."""
    command = [sys.executable, "-m", "ml_lifecycle.api.log_shipping", str(folder), LOG]
    done = subprocess.run(command, check=False, env=empty.variables(), capture_output=True, text=True)
    assert (0, f"4 answers of 3 segments shipped to {LOG}; 0 segments wait, 0 are being written.\n") == (
        done.returncode,
        done.stdout,
    )
    assert KEYS == empty.keys_found(NAMES)


def test_wrong_keys(site: Site, folder: Path) -> None:
    """A secret that is wrong is told as such, and not shown."""
    done = ship(folder, LOG, {**site.options(), "secret": "wrong-secret-of-nobody"})
    assert (3, False) == (done.waiting, "wrong-secret" in str(done.error))
    assert "refuses what is asked with these keys (SignatureDoesNotMatch in PutObject)" in str(done.error)


def test_a_store_that_swallows_what_is_sent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes the connection and never answers is given up; the next call tries again."""
    monkeypatch.setattr(log_shipping, "_UPLOAD_SECONDS", 1)
    with socket.create_server((HOST, 0)) as silent:
        endpoint = f"http://{HOST}:{silent.getsockname()[1]}"
        options = {"key": "a", "secret": "b", "client_kwargs": {"endpoint_url": endpoint}}
        for _ in range(2):
            started = time.monotonic()
            done = ship(folder, LOG, options)
            assert time.monotonic() - started < 10
            assert (3, True) == (done.waiting, "did not take" in str(done.error))
            with silent.accept()[0] as connection:
                assert b"PUT " == connection.recv(4)
