"""Segments of the prediction log: what was appended is there, whole, whatever happens to the process or the disk."""

import contextlib
import fcntl
import os
import resource
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import log_writer
from log_writer import MIB, entry, ids, segments
from ml_lifecycle.api import log_entry, log_segments
from ml_lifecycle.api.log_segments import LogError, LogFullError, Segments

HEADER = 12


def content_of(folder: Path) -> list[str]:
    """The ids in the segments of a folder, in the order in which they were written by each writer."""
    payloads = []
    for file in log_segments.segments_in(folder):
        found = log_segments.read(file.read_bytes())
        assert (found.torn, found.damaged) == (False, 0)
        payloads += found.payloads
    return [name for payload in payloads for name in log_entry.decode(payload).request_ids]


def open_files() -> int:
    """How many files this process holds."""
    return len(list(Path("/proc/self/fd").iterdir()))


def is_open(segment: Path) -> bool:
    """Whether somebody writes a segment."""
    with segment.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def the_segment(folder: Path) -> Path:
    """The only segment of a folder."""
    (segment,) = log_segments.segments_in(folder)
    return segment


def frames(*numbers: int) -> bytes:
    """What a segment holds after these entries."""
    return b"".join(frame(log_entry.encode(entry(number))) for number in numbers)


def frame(payload: bytes) -> bytes:
    """One frame, made by hand from the description of the format."""
    from zlib import crc32

    size = len(payload)
    return b"".join(n.to_bytes(4, "little") for n in (size, size ^ 0xA5A5A5A5, crc32(payload))) + payload


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Segments]:
    """A log in a folder that is made for it."""
    made = segments(tmp_path / "cache/log")
    yield made
    made.close()


class TestAppend:
    """Each entry is in its file when `append` returns."""

    def test_is_in_the_file_at_once(self, log: Segments) -> None:
        """Nothing waits in the process."""
        for number in range(20):
            log.append(entry(number))
            assert ids(0, number + 1) == content_of(log.folder)
        assert frames(*range(20)) == the_segment(log.folder).read_bytes()

    def test_is_one_write(self, log: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
        """A process that is killed has written all of an entry or, in the middle of one call, a part of it."""
        log.append(entry(0))
        written, write = [], os.write
        monkeypatch.setattr(os, "write", lambda file, frame: written.append(bytes(frame)) or write(file, frame))
        log.append(entry(1, rows=500))
        assert [frame(log_entry.encode(entry(1, rows=500)))] == written

    def test_entries_of_any_size(self, log: Segments) -> None:
        """Small ones after large ones, and one that is larger than a segment."""
        sizes = [1, 3000, 1, 40_000, 2]
        for number, rows in enumerate(sizes):
            log.append(entry(100_000 * number, rows=rows))
        assert [name for number, rows in enumerate(sizes) for name in ids(100_000 * number, rows)] == content_of(
            log.folder
        )

    def test_is_for_this_user_alone(self, log: Segments) -> None:
        """Requests may hold personal data."""
        log.append(entry())
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (log.folder, the_segment(log.folder))]
        assert [0o700, 0o600] == modes

    def test_makes_no_file_before_the_first(self, log: Segments) -> None:
        """A service that nobody asks leaves no files."""
        log.rotate_if_due()
        log.sync()
        assert [] == list(log.folder.iterdir())

    def test_from_threads(self, log: Segments) -> None:
        """Appending, syncing and rotating at once loses nothing and doubles nothing."""
        is_over = threading.Event()

        def housekeep() -> None:
            while not is_over.is_set():
                log.sync()
                for segment in log_segments.segments_in(log.folder)[:-1]:  # as a shipper would
                    segment.rename(segment.with_suffix(".kept"))
                log.rotate_if_due()

        def add(start: int) -> None:
            for number in range(start, start + 2000):
                log.append(entry(number))

        keeper = threading.Thread(target=housekeep)
        adders = [threading.Thread(target=add, args=[10_000 * number]) for number in range(3)]
        for thread in (keeper, *adders):
            thread.start()
        for thread in adders:
            thread.join()
        is_over.set()
        keeper.join()
        for kept in log.folder.glob("*.kept"):
            kept.rename(kept.with_suffix(log_segments.SUFFIX))
        assert len(list(log.folder.iterdir())) > 2
        assert [name for n in range(3) for name in ids(10_000 * n, 2000)] == sorted(content_of(log.folder))

    def test_leaves_no_open_files(self, tmp_path: Path) -> None:
        """However many segments there were."""
        before = open_files()
        log = segments(tmp_path, size=2000)
        for number in range(50):
            log.append(entry(number))
            log.sync()
        log.close()
        assert (50, before) == (len(content_of(tmp_path)), open_files())

    @pytest.mark.parametrize("worker", ["", "../w", "w-1", "w 1"])
    def test_a_worker_that_is_no_name(self, tmp_path: Path, worker: str) -> None:
        """The worker begins the names of files and of objects."""
        with pytest.raises(ValueError, match=f"worker {worker!r}: only letters, digits and underscores"):
            segments(tmp_path, worker)


class TestClosing:
    """A segment is closed when it is large or old, and when its process is gone."""

    def test_by_size(self, tmp_path: Path) -> None:
        """No segment gets larger than was said; all but the last one are closed."""
        size = len(frames(0))
        log = segments(tmp_path, size=3 * size)
        for number in range(7):
            log.append(entry(number))
        found = log_segments.segments_in(tmp_path)
        assert [3 * size, 3 * size, size] == [segment.stat().st_size for segment in found]
        assert [False, False, True] == [is_open(segment) for segment in found]
        log.close()
        assert not is_open(found[-1])

    def test_by_age(self, tmp_path: Path) -> None:
        """A young segment goes on, an old one is closed."""
        log = segments(tmp_path, age=0.2)
        log.append(entry(0))
        log.rotate_if_due()
        assert is_open(the_segment(tmp_path))
        time.sleep(0.25)
        log.rotate_if_due()
        assert not is_open(the_segment(tmp_path))
        log.append(entry(1))
        assert ([False, True], ids(0, 2)) == (
            [is_open(segment) for segment in log_segments.segments_in(tmp_path)],
            content_of(tmp_path),
        )
        log.close()

    def test_by_age_only_if_the_one_before_is_gone(self, tmp_path: Path) -> None:
        """While nothing is shipped few files wait, not one for every few seconds."""
        log = segments(tmp_path)
        for number in range(10):
            log.append(entry(number))
            log.rotate_if_due()
        first, second = log_segments.segments_in(tmp_path)
        assert [False, True] == [is_open(first), is_open(second)]
        first.unlink()
        log.rotate_if_due()
        assert not is_open(second)
        log.close()

    def test_by_death(self, tmp_path: Path) -> None:
        """The kernel closes the segment of a process that is killed."""
        process = log_writer.start(tmp_path, seconds=60)
        assert process.stdout is not None
        process.stdout.readline()
        assert is_open(the_segment(tmp_path))
        process.kill()
        process.stdout.close()
        process.wait()
        assert not is_open(the_segment(tmp_path))

    def test_while_it_is_synced(self, log: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
        """A disk that takes its time keeps neither a request waiting nor a closed segment from being shipped."""
        is_syncing, go_on = threading.Event(), threading.Event()

        def slow(_: int) -> None:
            is_syncing.set()
            assert go_on.wait(30)

        monkeypatch.setattr(log_segments, "_sync_data", slow)
        log.append(entry(0))
        keeper = threading.Thread(target=log.sync)
        keeper.start()
        assert is_syncing.wait(30)
        log.append(entry(1))
        log.rotate_if_due()
        assert not is_open(the_segment(log.folder))
        go_on.set()
        keeper.join()

    def test_an_empty_file_that_a_shipper_takes_away(self, log: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
        """Between making a file and locking it, a shipper may take it for one left behind: another one is made."""
        lock, taken = fcntl.flock, []

        def late(file: int, operation: int) -> None:
            if operation == fcntl.LOCK_EX and not taken:
                taken.append(the_segment(log.folder))
                taken[0].unlink()
            lock(file, operation)

        monkeypatch.setattr(fcntl, "flock", late)
        log.append(entry(0))
        assert (1, ids(0)) == (len(taken), content_of(log.folder))


class TestSync:
    """What a power cut may take is what was not synced."""

    @pytest.fixture
    def synced(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The sizes of the files that the disk has confirmed."""
        sizes: list[int] = []
        monkeypatch.setattr(log_segments, "_sync_data", lambda file: sizes.append(os.fstat(file).st_size))
        return sizes

    def test_is_for_all_that_was_appended(self, tmp_path: Path, synced: list[int]) -> None:
        """Closed segments, too; nothing twice."""
        size = len(frames(0))
        log = segments(tmp_path, size=2 * size)
        for number in range(5):
            log.append(entry(number))
        log.sync()
        assert [2 * size, 2 * size, size] == synced
        log.sync()
        assert 3 == len(synced)
        log.append(entry(5))
        log.close()
        assert 2 * size == synced[3]

    def test_a_disk_that_fails_is_told(self, log: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
        """The log goes on; whoever called knows."""

        def fail(_: int) -> None:
            raise OSError(5, "Input/output error")

        log.append(entry(0))
        before = open_files()
        with monkeypatch.context() as patch:
            patch.setattr(log_segments, "_sync_data", fail)
            with pytest.raises(LogError, match=r"did not confirm what was written \(.*Input/output error"):
                log.sync()
        log.append(entry(1))
        log.sync()
        assert (ids(0, 2), before) == (content_of(log.folder), open_files())


class TestBound:
    """The log takes no more of the disk than it may."""

    def test_bites(self, tmp_path: Path) -> None:
        """What fits is kept; what does not is refused with what to do; nothing of it is in the file."""
        log = segments(tmp_path, max_bytes=10 * len(frames(0)))
        for number in range(10):
            log.append(entry(number))
        for _ in range(3):
            with pytest.raises(
                LogFullError, match=r"is full: [\d,]+ bytes wait to be shipped, [\d,]+ are allowed.*API_"
            ):
                log.append(entry(10))
        assert ids(0, 10) == content_of(tmp_path)

    def test_lets_go_of_what_fills_it(self, tmp_path: Path) -> None:
        """A log that is smaller than a segment is not full for ever: what it holds can be shipped, and it goes on."""
        log = segments(tmp_path, max_bytes=10 * len(frames(0)), age=3600)
        for number in range(10):
            log.append(entry(number))
        with pytest.raises(LogFullError):
            log.append(entry(10))
        assert not is_open(the_segment(tmp_path))
        the_segment(tmp_path).unlink()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                log.append(entry(11))
                break
            except LogFullError:
                time.sleep(0.01)
        assert ids(11) == content_of(tmp_path)

    def test_is_for_all_writers_together(self, tmp_path: Path) -> None:
        """Two writers in one folder have no more room than one; what lies there already counts, damaged or not."""
        (tmp_path / log_segments.DAMAGED).mkdir()
        (tmp_path / log_segments.DAMAGED / "old.segment").write_bytes(bytes(2 * MIB))
        (tmp_path / "old.segment").write_bytes(bytes(3 * MIB))
        logs = [segments(tmp_path, worker, max_bytes=16 * MIB, size=4 * MIB) for worker in ("a", "b")]
        large = entry(rows=500)
        refused: set[int] = set()
        for number in range(2000):  # four times what fits: a bound that does not hold must not fill the disk
            try:
                logs[number % 2].append(large)
            except LogFullError:
                refused.add(number % 2)
        assert {0, 1} == refused
        assert 15.9 * MIB < log_segments.size_of(tmp_path) <= 17 * MIB
        assert log_segments.size_of(tmp_path) == logs[0].bytes_waiting

    def test_two_writers_at_once(self, tmp_path: Path) -> None:
        """Each has files of its own."""
        logs = [segments(tmp_path, "same", size=5000) for _ in range(2)]
        for number in range(100):
            logs[number % 2].append(entry(number))
        for log in logs:
            log.close()
        assert ids(0, 100) == sorted(content_of(tmp_path))

    def test_a_full_log_is_not_measured_for_every_request(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Refusing is quick: the folder is listed once in a while, however many requests there are."""
        (tmp_path / "old.segment").write_bytes(bytes(1000))
        log = segments(tmp_path, max_bytes=1000)
        measured, measure, now = [], log_segments.size_of, [0.0]
        monkeypatch.setattr(log_segments, "size_of", lambda folder: measured.append(1) or measure(folder))
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        for moment in (100.0, 200.0):
            now[0] = moment
            for _ in range(1000):
                with pytest.raises(LogFullError):
                    log.append(entry())
        assert 2 == len(measured)

    def test_files_that_go_meanwhile(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A segment that is shipped while the folder is measured takes no room."""
        names = [tmp_path / f"{number}.segment" for number in range(3)]
        for name in names:
            name.write_bytes(bytes(10))
        scan = os.scandir

        @contextlib.contextmanager
        def late(folder: str) -> Iterator[list["os.DirEntry[str]"]]:
            with scan(folder) as files:
                listed = list(files)
            names[1].unlink(missing_ok=True)
            yield listed

        monkeypatch.setattr(os, "scandir", late)
        assert 20 == log_segments.size_of(tmp_path)


#: A process whose files may not exceed a size: writes past it come back short, then fail, as on a full disk.
LIMITED = """
import sys, resource
from pathlib import Path
sys.path.insert(0, {tests!r})
import log_writer
from ml_lifecycle.api.log_segments import LogFullError

resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
log = log_writer.segments(Path({folder!r}))
for number in range(100):
    try:
        log.append(log_writer.entry(number))
    except LogFullError as error:
        print(error.message)
        break
    print(number)
{then}
"""


class TestFullDisk:
    """A disk without room: nothing half is left."""

    @staticmethod
    def run(folder: Path, limit: int, then: str = "") -> list[str]:
        """Run the process; return what it said."""
        tests = str(Path(log_writer.__file__).parent)
        code = LIMITED.format(tests=tests, folder=str(folder), limit=limit, then=then)
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        return done.stdout.splitlines()

    @pytest.mark.parametrize("beyond", [0, 1, HEADER, 200])
    def test_nothing_half_is_left(self, tmp_path: Path, beyond: int) -> None:
        """The entry that found no room is refused; those before it are whole."""
        *appended, error = self.run(tmp_path, len(frames(*range(5))) + beyond)
        assert (5, True) == (len(appended), "has no room (" in error)
        assert frames(*range(5)) == the_segment(tmp_path).read_bytes()

    def test_goes_on_when_there_is_room(self, tmp_path: Path) -> None:
        """The same segment goes on, without a gap."""
        limit = len(frames(*range(5))) + 100
        unlimited = "(resource.RLIM_INFINITY, resource.RLIM_INFINITY)"
        then = f"resource.setrlimit(resource.RLIMIT_FSIZE, {unlimited})\nlog.append(log_writer.entry(5))"
        self.run(tmp_path, limit, then)
        assert frames(*range(6)) == the_segment(tmp_path).read_bytes()

    def test_no_room_for_a_file(self, log: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
        """A disk without room for one more file is told in the same way."""
        log.append(entry(0))
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        log.rotate_if_due()
        taken = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files() + 2, before[1]))
        try:
            while True:
                try:
                    taken.append(os.open("/dev/null", os.O_RDONLY))
                except OSError:
                    break
            with pytest.raises(LogError, match=r"cannot be written \(.*Too many open files"):
                log.append(entry(1))
        finally:
            for file in taken:
                os.close(file)
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        log.append(entry(1))
        assert ids(0, 2) == content_of(log.folder)

    def test_a_part_that_cannot_be_taken_back(self, log: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
        """The segment is closed with half an entry at its end; the log goes on in another one."""
        write = os.write

        def fail(*_: object) -> None:
            raise OSError(5, "Input/output error")

        log.append(entry(0))
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda file, frame: write(file, frame[:50]))
            patch.setattr(os, "ftruncate", fail)
            with pytest.raises(LogFullError, match="only a part was written"):
                log.append(entry(1))
        log.append(entry(2))
        first, second = log_segments.segments_in(log.folder)
        assert frames(0) + frames(1)[:50] == first.read_bytes()
        assert (frames(2), [False, True]) == (second.read_bytes(), [is_open(first), is_open(second)])


class TestRead:
    """A segment that is not as it was written says so, and gives what is whole."""

    @staticmethod
    def numbers(content: bytes) -> list[int]:
        """The entries that are read."""
        read = [log_entry.decode(payload) for payload in log_segments.read(content).payloads]
        return [int(found.request_ids[0].partition("-")[2], 16) for found in read]

    @given(st.integers(1, len(frames(2)) - 1))
    def test_a_torn_end(self, left: int) -> None:
        """Wherever the last frame is cut, those before it are read, and it is told as torn."""
        content = frames(0, 1) + frames(2)[:left]
        found = log_segments.read(content)
        assert ([0, 1], True, 0) == (self.numbers(content), found.torn, found.damaged)

    @given(st.integers(0, len(frames(1)) - 1), st.integers(0, 7))
    def test_a_bit_that_fell_over(self, at: int, bit: int) -> None:
        """No flipped bit goes unnoticed, nor is taken for a torn end."""
        content = bytearray(frames(0, 1, 2))
        content[len(frames(0)) + at] ^= 1 << bit
        found = log_segments.read(bytes(content))
        assert ([0, 2] if at >= HEADER - 4 else [0], False, 1) == (
            self.numbers(bytes(content)),
            found.torn,
            found.damaged,
        )

    @pytest.mark.parametrize("zeros", [1, HEADER, 5000])
    def test_an_end_of_zeros(self, zeros: int) -> None:
        """A power cut may leave a file that has grown, without its bytes: a torn end, no entry of nothing."""
        content = frames(0) + bytes(zeros)
        found = log_segments.read(content)
        assert ([0], True, 0) == (self.numbers(content), found.torn, found.damaged)
        followed = log_segments.read(content[:-1] + b"\1" if zeros > 1 else content)
        assert (zeros < HEADER or followed.damaged == 1) is True

    def test_nothing(self) -> None:
        """An empty segment holds nothing, and that is no fault."""
        assert log_segments.Content([], torn=False, damaged=0) == log_segments.read(b"")


@pytest.mark.parametrize("module", ["log_segments", "log_entry"])
def test_imports_nothing_heavy(module: str) -> None:
    """The processes that answer requests import this."""
    heavy = ["mlflow", "pandas", "pyarrow", "fsspec", "s3fs", "sklearn", "kedro", "pydantic", "numpy", "onnx"]
    code = f"import sys, ml_lifecycle.api.{module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "[]" == done.stdout.strip()
