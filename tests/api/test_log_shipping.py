"""Shipping the prediction log: every answer arrives exactly once, whoever is killed, whatever is damaged or away."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import log_writer
from log_writer import DAY, DIGEST, MIB, NEXT_DAY, SCORED_AT, entry, ids, segments
from ml_lifecycle import prediction_log
from ml_lifecycle.api import log_entry, log_segments, log_shipping
from ml_lifecycle.api.log_entry import Entry
from ml_lifecycle.api.log_shipping import Shipped, ship
from ml_lifecycle.prediction_columns import SCHEMA
from ml_lifecycle.prediction_log import Prediction

TESTS = Path(log_writer.__file__).parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where segments are written."""
    return tmp_path / "segments"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where they are shipped to."""
    return tmp_path / "prediction_log"


def write(folder: Path, *entries: Entry, worker: str = "w") -> Path:
    """Write entries into one closed segment; return it."""
    before = set(log_segments.segments_in(folder))
    made = segments(folder, worker)
    for added in entries:
        made.append(added)
    made.close()
    (segment,) = set(log_segments.segments_in(folder)) - before
    return segment


def files_in(log: Path) -> list[str]:
    """All files of a log, without the random part of their names."""
    return sorted(str(file.relative_to(log)) for file in log.rglob("*") if file.is_file())


def ids_in(log: Path) -> list[str]:
    """The ids that a reader finds in all files of a log, sorted; one that is there twice is here twice."""
    paths = [str(file) for file in log.rglob("*.parquet")]
    table = ds.dataset(paths, schema=pa.schema(SCHEMA), format="parquet").to_table(columns=["request_id"])
    return sorted(table["request_id"].to_pylist())


def find(log: Path, name: str) -> Prediction:
    """The answer with an id, as `kedro model trace` finds it."""
    found = prediction_log.find(str(log), name)
    assert found is not None
    return found


class TestAnswers:
    """What was answered is what is read."""

    def test_has_every_field(self, folder: Path, log: Path) -> None:
        """The answer to one row of a request for several, to the last bit, with the inputs of this row."""
        write(folder, entry(0), entry(10, rows=3, keys=["flight 10", None, "flight 12"]))
        assert Shipped(segments=1, rows=4) == ship(folder, str(log))
        assert find(log, ids(11)[0]) == Prediction(
            request_id=ids(11)[0],
            request_key=None,
            probability=1 / 14,
            decision="late",
            model_name="flight_delay",
            model_version="7",
            model_digest=DIGEST,
            scored_at=datetime.fromtimestamp(SCORED_AT // 10**6, UTC).replace(microsecond=11),
            threshold=0.3,
            protocol="predict",
            correlation_id="caller-10",
            inputs='{"number": 11, "carrier": "UA"}',
        )
        assert "flight 12" == find(log, ids(12)[0]).request_key

    def test_by_columns(self, folder: Path, log: Path) -> None:
        """Inputs by column become an object for each row."""
        body = '{"ключ": ["ä", null], "x": [1.0, -0.0]}'.encode()
        write(folder, entry(0, rows=2, form="columns", inputs=body, protocol="v2", correlation_id=None))
        ship(folder, str(log))
        first, second = (find(log, name) for name in ids(0, 2))
        assert ('{"ключ":"ä","x":1.0}', '{"ключ":null,"x":-0.0}') == (first.inputs, second.inputs)
        assert ("v2", None) == (first.protocol, first.correlation_id)

    def test_in_any_script(self, folder: Path, log: Path) -> None:
        """Keys, labels and inputs in any script, with any character that text can hold."""
        strange = "航班 ✈\n\0\u2028\"'\\ 𝕏"
        body = json.dumps({strange: strange}, ensure_ascii=False)
        write(folder, entry(0, keys=[strange], decisions=[strange], correlation_id=strange, inputs=body.encode()))
        ship(folder, str(log))
        found = find(log, ids(0)[0])
        assert (strange, strange, strange, body) == (
            found.request_key,
            found.decision,
            found.correlation_id,
            found.inputs,
        )

    def test_of_two_days(self, folder: Path, log: Path) -> None:
        """A segment over midnight goes into the folders of both days, under one name."""
        segment = write(folder, entry(0), entry(1, day=NEXT_DAY), entry(2))
        assert 3 == ship(folder, str(log)).rows
        assert files_in(log) == [f"date=2026-04-0{day}/{segment.stem}.parquet" for day in (1, 2)]
        assert [DAY, NEXT_DAY, DAY] == [
            find(log, name).request_id[:8] for name in (*ids(0), *ids(1, day=NEXT_DAY), *ids(2))
        ]

    def test_of_one_request_over_midnight(self, folder: Path, log: Path) -> None:
        """Each row is filed by the day in its own id, where it is looked for."""
        names = [*ids(0), *ids(1, day=NEXT_DAY)]
        write(folder, entry(0, rows=2, request_ids=names))
        ship(folder, str(log))
        assert ["flight 0", "flight 1"] == [find(log, name).request_key for name in names]

    def test_beside_those_of_batch_runs(self, folder: Path, log: Path) -> None:
        """A file of the service has the same columns first, of the same types, but for the wider probability."""
        write(folder, entry(0))
        ship(folder, str(log))
        (file,) = log.rglob("*.parquet")
        assert pq.read_schema(file).equals(pa.schema(SCHEMA))
        assert {"ZSTD"} == {pq.read_metadata(file).row_group(0).column(n).compression for n in range(12)}

    def test_more_than_one_piece(self, folder: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A large segment is turned into Parquet piece by piece, into one file."""
        pieces: list[int] = []

        def counted(values: list[Any], type_: Any) -> Any:
            pieces.append(len(values))
            return array(values, type_)

        array = log_shipping._array
        monkeypatch.setattr(log_shipping, "_array", counted)
        monkeypatch.setattr(log_shipping, "_PIECE_BYTES", 1000)
        write(folder, *(entry(100 * number, rows=100) for number in range(5)))
        assert 500 == ship(folder, str(log)).rows
        assert (500, True) == (sum(pieces) / len(SCHEMA), max(pieces) < 50)
        assert len([*log.rglob("*.parquet")]) == 1
        assert ids(0, 500) == ids_in(log)


class TestSegments:
    """Which segments are shipped, and what is left of them."""

    def test_closed_ones(self, folder: Path, log: Path) -> None:
        """All closed ones, each to its file; what is shipped is deleted, what is open stays."""
        closed = [write(folder, entry(0)), write(folder, entry(1), worker="v")]
        writer = segments(folder)
        writer.append(entry(2))
        assert Shipped(segments=2, rows=2, open=1) == ship(folder, str(log))
        assert sorted(f"date=2026-04-01/{segment.stem}.parquet" for segment in closed) == files_in(log)
        assert (1, ids(0, 2)) == (len(list(folder.iterdir())), ids_in(log))
        writer.close()
        assert Shipped(segments=1, rows=1) == ship(folder, str(log))
        assert ([], ids(0, 3)) == (list(folder.iterdir()), ids_in(log))

    def test_none(self, folder: Path, log: Path) -> None:
        """Where nothing is to be done, nothing is done; nor where there is no folder."""
        assert Shipped() == ship(folder, str(log))
        folder.mkdir()
        (folder / "notes.txt").write_text("kept", encoding="utf-8")
        assert Shipped() == ship(folder, str(log))
        assert (False, "kept") == (log.exists(), (folder / "notes.txt").read_text(encoding="utf-8"))

    def test_an_empty_one(self, folder: Path, log: Path) -> None:
        """A process that died before its first entry leaves an empty file, which goes."""
        folder.mkdir()
        (folder / "w-000001-00.segment").touch()
        assert Shipped(segments=1) == ship(folder, str(log))
        assert ([], False) == (list(folder.iterdir()), log.exists())

    def test_one_that_somebody_else_has_shipped(self, folder: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two shippers that list the same segment: the second one finds it gone, whenever it looks."""
        taken = write(folder, entry(0))
        monkeypatch.setattr(log_segments, "segments_in", lambda _: [taken, taken])
        assert Shipped(segments=1, rows=1) == ship(folder, str(log))

    def test_one_that_goes_while_it_is_claimed(self, folder: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Between opening a segment and locking it, another shipper may have finished it."""
        segment, lock = write(folder, entry(0)), log_shipping.fcntl.flock

        def late(file: int, operation: int) -> None:
            segment.unlink()
            lock(file, operation)

        monkeypatch.setattr(log_shipping.fcntl, "flock", late)
        assert (Shipped(), False) == (ship(folder, str(log)), log.exists())

    def test_by_several_at_once(self, folder: Path, log: Path) -> None:
        """The attendant, and somebody at the command line."""
        for number in range(40):
            write(folder, entry(number))
        done: list[Shipped] = []
        threads = [threading.Thread(target=lambda: done.append(ship(folder, str(log)))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (40, [None] * 4) == (sum(one.rows for one in done), [one.error for one in done])
        assert ids(0, 40) == ids_in(log)


class TestDamage:
    """A segment that is not as it was written."""

    def test_a_torn_end(self, folder: Path, log: Path) -> None:
        """The end that was never answered is left out and counted; the segment is done."""
        segment = write(folder, entry(0), entry(1))
        os.truncate(segment, segment.stat().st_size - 3)
        assert Shipped(segments=1, rows=1, torn=1) == ship(folder, str(log))
        assert ([], ids(0)) == (list(folder.iterdir()), ids_in(log))

    def test_in_the_middle(self, folder: Path, log: Path) -> None:
        """What can be read is shipped, on both sides; the segment is kept, and somebody is told."""
        segment = write(folder, entry(0), entry(1), entry(2))
        content = bytearray(segment.read_bytes())
        content[len(content) // 2] ^= 1
        segment.write_bytes(content)
        done = ship(folder, str(log))
        kept = folder / "damaged" / segment.name
        assert Shipped(segments=1, rows=2, damaged=1, error=done.error) == done
        assert f"{segment.name} has 1 damaged places" in str(done.error)
        assert str(kept.parent) in str(done.error)
        assert (bytes(content), [*ids(0), *ids(2)]) == (kept.read_bytes(), ids_in(log))
        assert Shipped() == ship(folder, str(log))

    def test_nothing_readable(self, folder: Path, log: Path) -> None:
        """A file of something else is set aside; the others are shipped."""
        folder.mkdir()
        (folder / "a.segment").write_bytes(b"something else altogether")
        write(folder, entry(0))
        done = ship(folder, str(log))
        assert (2, 1, 1, ids(0)) == (done.segments, done.rows, done.damaged, ids_in(log))
        assert ["a.segment"] == [file.name for file in (folder / "damaged").iterdir()]

    @pytest.mark.parametrize(
        "payload",
        [
            b"\xc1",
            log_entry.encode(entry(1, request_ids=["not an id"])),
            log_entry.encode(entry(1, rows=2, keys=[None])),
            log_entry.encode(entry(1, inputs=b'[{"a": NaN}]')),
            log_entry.encode(entry(1, scored_at=2**62)),
        ],
        ids=["no entry", "no id", "one key too few", "no JSON", "no time"],
    )
    def test_an_entry_that_makes_no_rows(
        self, folder: Path, log: Path, payload: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A frame is whole, but its writer was wrong: nothing of it is shipped, the others are, and all is kept."""
        encode = log_entry.encode_into

        def wrong(added: Entry, buffer: bytearray, start: int) -> None:
            encode(added, buffer, start)
            if added == entry(1):
                buffer[start:] = payload

        monkeypatch.setattr(log_entry, "encode_into", wrong)
        write(folder, entry(0), entry(1), entry(2))
        done = ship(folder, str(log))
        assert (2, 1, [*ids(0), *ids(2)]) == (done.rows, done.damaged, ids_in(log))
        assert 1 == len(list((folder / "damaged").iterdir()))


class TestFaults:
    """The store, or the disk, does not do its part."""

    def test_the_store_is_away_then_back(self, folder: Path, log: Path) -> None:
        """Nothing is lost; the error says what is wrong; the next call goes on."""
        kept = {file: file.read_bytes() for file in (write(folder, entry(0)), write(folder, entry(1)))}
        log.touch()  # a file where the folder should be
        for _ in range(2):
            done = ship(folder, str(log))
            size = sum(len(content) for content in kept.values())
            assert Shipped(waiting=2, waiting_bytes=size, error=done.error) == done
            assert str(done.error).startswith("FileExistsError: ") or str(done.error).startswith("NotADirectoryError: ")
        assert kept == {file: file.read_bytes() for file in folder.iterdir()}
        log.unlink()
        assert Shipped(segments=2, rows=2) == ship(folder, str(log))
        assert ids(0, 2) == ids_in(log)

    def test_an_address_that_nothing_knows(self, folder: Path) -> None:
        """A mistake in the settings is told like a store that is away."""
        write(folder, entry(0))
        done = ship(folder, "nowhere://log")
        assert (1, True) == (done.waiting, "nowhere" in str(done.error))

    def test_a_store_that_is_away_is_asked_once(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The other segments do not wait for the same answer."""
        for number in range(5):
            write(folder, entry(number))
        asked = []

        def away(*_: object) -> None:
            asked.append(1)
            raise OSError("away")

        monkeypatch.setattr(log_shipping, "_put", away)
        assert (5, 1) == (ship(folder, "memory://log").waiting, len(asked))

    def test_a_segment_that_cannot_be_read(self, folder: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The others are shipped; this one stays and is told."""
        bad = write(folder, entry(0), worker="a")
        write(folder, entry(1), worker="b")
        read, content = log_shipping._files_of, bad.read_bytes()

        def fail(given: bytes) -> object:
            if given == content:
                raise OSError(5, "Input/output error")
            return read(given)

        monkeypatch.setattr(log_shipping, "_files_of", fail)
        done = ship(folder, str(log))
        assert (1, 1, ids(1)) == (done.rows, done.waiting, ids_in(log))
        assert f"{bad} cannot be shipped: " in str(done.error)
        assert content == bad.read_bytes()

    def test_options_open_the_address(self, folder: Path, log: Path) -> None:
        """The options go to the file system: this one is a folder that only they name."""
        log.mkdir()
        write(folder, entry(0))
        (log / "date=2026-04-01").mkdir()
        done = ship(folder, "dir://", {"path": str(log), "target_protocol": "file"})
        assert (None, ids(0)) == (done.error, ids_in(log))


#: Ships, and kills itself with SIGKILL where it is told to.
KILLED = """
import os, signal, sys
from pathlib import Path
from typing import Any
from ml_lifecycle.api import log_segments, log_shipping

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

{patch}
print("ready", flush=True)
log_shipping.ship(Path({folder!r}), {url!r})
"""
BEFORE_DELETING = "Path.unlink = die"
BEFORE_SETTING_ASIDE = "log_shipping._set_aside = die"
BETWEEN_TWO_DAYS = """
put, done = log_shipping._put, []
def once(*given):
    if done:
        die()
    done.append(put(*given))
log_shipping._put = once
"""
BEFORE_THE_NAME = "Path.replace = die"


def shipping(folder: Path, log: Path, patch: str = "") -> "subprocess.Popen[bytes]":
    """Start a process that ships once; it is ready to do so when this returns."""
    code = KILLED.format(patch=patch, folder=str(folder), url=str(log))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert b"ready\n" == process.stdout.readline()
    return process


def ended(process: "subprocess.Popen[bytes]") -> int:
    """Wait for a process; return how it ended."""
    process.wait(60)
    assert process.stdout is not None
    process.stdout.close()
    return process.returncode


class TestExactlyOnce:
    """Whoever is killed, each answer that was logged arrives, once."""

    @pytest.mark.parametrize(
        "patch",
        [BEFORE_DELETING, BETWEEN_TWO_DAYS, BEFORE_THE_NAME, BEFORE_SETTING_ASIDE],
        ids=["before deleting", "between two days", "before the name", "before setting aside"],
    )
    def test_a_shipper_killed_at_a_bad_moment(self, folder: Path, log: Path, patch: str) -> None:
        """The next one makes the same files under the same names, and leaves nothing unfinished."""
        segment = write(folder, entry(0), entry(1, day=NEXT_DAY), entry(2))
        if patch == BEFORE_SETTING_ASIDE:
            segment.write_bytes(segment.read_bytes() + b"something else")
        assert -9 == ended(shipping(folder, log, patch))
        assert [segment] == log_segments.segments_in(folder)
        assert 3 == ship(folder, str(log)).rows
        assert files_in(log) == [f"date=2026-04-0{day}/{segment.stem}.parquet" for day in (1, 2)]
        assert sorted([*ids(0), *ids(2), *ids(1, day=NEXT_DAY)]) == ids_in(log)

    def test_a_shipper_killed_at_any_moment(self, folder: Path, log: Path) -> None:
        """Again and again, at random; readers never see half a file."""
        for number in range(60):
            write(folder, entry(2 * number), entry(2 * number + 1, day=NEXT_DAY))
        expected = sorted([*(ids(2 * n)[0] for n in range(60)), *(ids(2 * n + 1, day=NEXT_DAY)[0] for n in range(60))])
        killed = 0
        for _ in range(5):
            process = shipping(folder, log)
            time.sleep(random.uniform(0.005, 0.15))
            process.kill()
            killed += ended(process) == -9
            assert len(ids_in(log)) == len(set(ids_in(log)))
        assert killed > 0
        ship(folder, str(log))
        assert ([], expected) == (log_segments.segments_in(folder), ids_in(log))

    @pytest.mark.parametrize("attempt", range(8))
    def test_a_service_killed_at_any_moment(self, folder: Path, log: Path, attempt: int) -> None:
        """Every id that a process gave out before it was killed arrives once, with the shipper at work all the time.

        What arrives beyond that is at most the one entry whose id the process had no time to print.
        """
        process = log_writer.start(folder, segment_bytes=random.choice([20_000, 200_000, MIB]))
        printed: list[str] = []

        def read() -> None:
            assert process.stdout is not None
            printed.extend(line.decode().strip() for line in process.stdout if line.endswith(b"\n"))

        reader = threading.Thread(target=read)
        reader.start()
        while not printed:
            time.sleep(0.01)
        deadline = time.monotonic() + random.uniform(0, 0.4)
        done: list[Shipped] = []
        while time.monotonic() < deadline:
            done.append(ship(folder, str(log)))
        process.kill()
        reader.join()
        ended(process)
        done.append(ship(folder, str(log)))
        assert ({None}, 0, []) == ({one.error for one in done}, done[-1].open, list(folder.iterdir()))
        shipped = Counter(ids_in(log))
        assert {1} == set(shipped.values())
        assert set(printed) <= set(shipped)
        assert len(shipped) - len(printed) <= 1

    def test_a_service_goes_on_while_it_is_shipped(self, folder: Path, log: Path) -> None:
        """Two writers and a shipper: nothing is missing, nothing is there twice."""
        is_over = threading.Event()

        def keep_shipping() -> None:
            while not is_over.is_set():
                ship(folder, str(log))

        shipper = threading.Thread(target=keep_shipping)
        shipper.start()
        writers = [segments(folder, worker, size=20_000) for worker in ("a", "b")]
        for number in range(4000):
            writers[number % 2].append(entry(number))
            writers[number % 2].rotate_if_due()
        is_over.set()
        shipper.join()
        for writer in writers:
            writer.close()
        ship(folder, str(log))
        assert ids(0, 4000) == ids_in(log)


class TestReaders:
    """Whoever reads while something is shipped sees whole files."""

    def test_never_see_half_a_file(self, folder: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Until a file is whole, no name ends in .parquet."""
        seen: list[list[str]] = []
        sync = os.fsync
        monkeypatch.setattr(os, "fsync", lambda file: seen.append(files_in(log)) or sync(file))
        segment = write(folder, entry(0))
        seen.clear()
        ship(folder, str(log))
        name = f"date=2026-04-01/{segment.stem}.parquet"
        assert [[f"{name}.unfinished"], [name]] == [seen[0], seen[-1]]

    def test_find_answers_while_more_arrive(self, folder: Path, log: Path) -> None:
        """Reading never fails because something is just being shipped."""
        write(folder, entry(0))
        ship(folder, str(log))
        is_over = threading.Event()

        def keep_shipping() -> None:
            for number in range(1, 60):
                write(folder, entry(number))
                ship(folder, str(log))
            is_over.set()

        shipper = threading.Thread(target=keep_shipping)
        shipper.start()
        while not is_over.is_set():
            assert "flight 0" == find(log, ids(0)[0]).request_key
        shipper.join()
        assert ids(0, 60) == ids_in(log)


class TestCommand:
    """`python -m ml_lifecycle.api.log_shipping`, for what a machine left behind."""

    @pytest.fixture
    def command(self, folder: Path, log: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
        """Run it."""

        def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
            whole = [sys.executable, "-m", "ml_lifecycle.api.log_shipping", *(arguments or (str(folder), str(log)))]
            return subprocess.run(whole, check=False, capture_output=True, text=True)

        return run

    def test_ships(self, command: Callable[..., "subprocess.CompletedProcess[str]"], folder: Path, log: Path) -> None:
        """One line, and 0."""
        write(folder, entry(0), entry(1))
        done = command()
        line = f"2 answers of 1 segments shipped to {log}; 0 segments wait, 0 are being written.\n"
        assert (0, line, "") == (done.returncode, done.stdout, done.stderr)
        assert ids(0, 2) == ids_in(log)

    def test_says_what_is_left(
        self, command: Callable[..., "subprocess.CompletedProcess[str]"], folder: Path, log: Path
    ) -> None:
        """One line, and 1; without the password of an address."""
        write(folder, entry(0))
        done = command(str(folder), "nowhere://me:secret@host/log")
        assert (1, "", 1) == (done.returncode, done.stdout, len(done.stderr.splitlines()))
        assert done.stderr.startswith("Error: ")
        assert done.stderr.endswith(
            "(0 answers of 0 segments shipped to nowhere://host/log; 1 segments wait, 0 are being written.)\n"
        )
        assert "secret" not in done.stderr

    def test_needs_a_folder(self, command: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path) -> None:
        """A folder that is not there is a mistake, not an empty log."""
        done = command(str(tmp_path / "nowhere"), str(tmp_path))
        assert (1, f"Error: there is no folder {tmp_path / 'nowhere'}. Name the one with the segments.\n") == (
            done.returncode,
            done.stderr,
        )
