"""One run at a time: the file that says who is at work, on a folder and on a real object store."""

import contextlib
import json
import logging
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import psutil
import pytest
from pydantic import ValidationError

from ml_lifecycle.errors import HoldError
from ml_lifecycle.hold import Hold, HoldFile
from servers import ObjectStore, object_store

pytestmark = pytest.mark.filterwarnings("default")  # of third parties, as connections are closed

BUCKET = "ml-data"
COMMAND = "kedro run --env minio --pipelines training"
ROUNDS = 5
ELSEWHERE = Hold(
    token="0" * 32,
    user="ada",
    machine="laptop/ab12cd",
    process=4711,
    process_started=1370080800.25,
    since="2013-06-01T10:00:00+00:00",
    command="kedro run --env minio --pipelines serving",
)
#: A process of its own that acquires and releases when it is told to.
WORKER = """
import json, sys
from ml_lifecycle.errors import HoldError
from ml_lifecycle.hold import HoldFile

url, options, command = json.loads(sys.stdin.readline())
file, hold = HoldFile(url, options), None
file.read()  # so that it is connected
print(json.dumps({"ready": True}), flush=True)
while told := sys.stdin.readline().strip():
    answer = {}
    if told == "acquire":
        try:
            hold = file.acquire(command)
            answer = hold.model_dump()
        except HoldError as error:
            answer = {"refused": error.message}
    elif hold is not None:
        file.release(hold)
        hold = None
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """Run a real object store that holds one empty bucket."""
    with object_store("weed", tmp_path_factory.mktemp("object-store")) as store:
        store.files().mkdir(BUCKET)
        yield store


@dataclass(frozen=True)
class Place:
    """Where a hold lies, and how to open it."""

    url: str
    options: dict[str, Any] = field(default_factory=dict)

    def open(self) -> HoldFile:
        """Open it as a run does."""
        return HoldFile(self.url, self.options)

    @classmethod
    def in_store(cls, store: ObjectStore, path: str) -> "Place":
        """Name a file in the object store."""
        endpoint = {"endpoint_url": store.endpoint}
        return cls(f"s3://{path}", {"key": store.root.key, "secret": store.root.secret, "client_kwargs": endpoint})


@pytest.fixture
def stored(store: ObjectStore) -> Place:
    """Name a file in the object store that is not there yet."""
    return Place.in_store(store, f"{BUCKET}/{uuid.uuid4().hex}.json")


@pytest.fixture(params=["folder", "object store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Name a file that is not there yet, in a folder and in the object store."""
    if request.param == "folder":
        return Place(f"file://{tmp_path}/hold.json")
    found: Place = request.getfixturevalue("stored")
    return found


def put(place: Place, content: bytes | Hold) -> None:
    """Write the file, whatever it was."""
    file = place.open()
    file._fs.pipe_file(file._path, content.model_dump_json().encode() if isinstance(content, Hold) else content)


def put_by_another(place: Place, hold: Hold) -> None:
    """Write the file as another machine does, of which this process hears nothing."""
    files, path = fsspec.core.url_to_fs(place.url, skip_instance_cache=True, **place.options)
    files.pipe_file(path, hold.model_dump_json().encode())


def content_of(place: Place) -> bytes | None:
    """Read the file's bytes; None if there is no file."""
    file = place.open()
    with contextlib.suppress(FileNotFoundError):
        return bytes(file._fs.cat_file(file._path))
    return None


@dataclass
class Worker:
    """Another process."""

    process: "subprocess.Popen[str]"

    def tell(self, line: str) -> None:
        """Send it a line; it works while we go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for its answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the other process has ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, line: str) -> dict[str, Any]:
        """Send it a line and wait for its answer."""
        self.tell(line)
        return self.answer()


@contextlib.contextmanager
def worker(place: Place, **variables: str) -> Iterator[Worker]:
    """Start another process that is ready to acquire, and see that it ends."""
    with subprocess.Popen(
        [sys.executable, "-c", WORKER],
        env={**os.environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            other = Worker(process)
            assert {"ready": True} == other.ask(json.dumps([place.url, place.options, COMMAND]))
            yield other
        finally:
            process.kill()


@pytest.fixture
def other(place: Place) -> Iterator[Worker]:
    """Start another process that uses the same place."""
    with worker(place) as other:
        yield other


def ended_process() -> tuple[int, float]:
    """Return pid and start, in seconds since the machine's, of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        started = psutil.Process(process.pid).create_time() - psutil.boot_time()
    return process.pid, started


def ended_hold() -> Hold:
    """Return the hold of a process of this machine that has ended."""
    pid, started = ended_process()
    return Hold.of_this_process(COMMAND).model_copy(update={"process": pid, "process_started": started})


class TestHold:
    """What is written down, and when it is worth nothing any more."""

    def test_says_who_is_at_work(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The hold of this process names it, its machine, its user, its command and the time in UTC."""
        monkeypatch.setenv("LOGNAME", "ada")
        before = datetime.now(UTC) - timedelta(seconds=1)
        hold = Hold.of_this_process(COMMAND)
        since = datetime.fromisoformat(hold.since)
        assert (os.getpid(), COMMAND, "ada") == (hold.process, hold.command, hold.user)
        space = os.readlink("/proc/self/ns/pid") if os.path.islink("/proc/self/ns/pid") else ""  # noqa: PTH114, PTH115
        assert f"{os.uname().nodename}/{uuid.getnode():x}/{space}" == hold.machine
        assert timedelta(0) == since.utcoffset()
        assert before <= since <= datetime.now(UTC)

    def test_names_a_user_without_a_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In a container, a user may be a number that the system has no name for."""
        for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(os, "getuid", lambda: 987654321)
        assert "987654321" in Hold.of_this_process(COMMAND).user

    def test_no_two_are_alike(self) -> None:
        """Two holds of the same process and command can be told apart."""
        assert Hold.of_this_process(COMMAND).token != Hold.of_this_process(COMMAND).token

    def test_reads_as_a_sentence(self) -> None:
        """As text it says who, where, since when, doing what, and leaves out what nobody wants to read."""
        assert (
            "ada on laptop (process 4711) since 2013-06-01T10:00:00+00:00: `kedro run --env minio --pipelines serving`"
        ) == str(ELSEWHERE)

    def test_holds_nothing_unknown(self) -> None:
        """A hold with a field that the project does not know is not read as one."""
        with pytest.raises(ValidationError, match="mood"):
            Hold.model_validate({**ELSEWHERE.model_dump(), "mood": "good"})

    def test_of_an_ended_process_is_stale(self) -> None:
        """A process of this machine that has ended is at work no more."""
        assert ended_hold().is_stale

    def test_of_a_process_nobody_has_buried_is_stale(self, tmp_path: Path) -> None:
        """A process that has ended is at work no more, even if its parent has not noticed."""
        with worker(Place(f"file://{tmp_path}/hold.json")) as other:
            hold = Hold.model_validate(other.ask("acquire"))
            other.process.kill()
            os.waitid(os.P_PID, other.process.pid, os.WEXITED | os.WNOWAIT)
            assert (True, False) == (hold.is_stale, hold.is_at_work)

    def test_of_this_process_is_stale(self) -> None:
        """What this process holds was left over by an earlier run in it."""
        assert Hold.of_this_process(COMMAND).is_stale

    def test_of_a_running_process_is_not_stale(self, tmp_path: Path) -> None:
        """A process of this machine that runs is at work."""
        with worker(Place(f"file://{tmp_path}/hold.json")) as other:
            assert not Hold.model_validate(other.ask("acquire")).is_stale

    @pytest.mark.parametrize("seconds", [-86400.0, 86400.0])
    def test_of_a_process_whose_number_was_given_again_is_stale(self, tmp_path: Path, seconds: float) -> None:
        """A running process that has the number, but not the start, is another one."""
        with worker(Place(f"file://{tmp_path}/hold.json")) as other:
            hold = Hold.model_validate(other.ask("acquire"))
            assert hold.model_copy(update={"process_started": hold.process_started + seconds}).is_stale

    @pytest.mark.parametrize("seconds", [-1.0, 1.0])
    def test_of_a_running_process_survives_a_clock_that_is_set(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
    ) -> None:
        """Setting the clock moves the start of all processes, as the system tells it, and ends none of them."""
        with worker(Place(f"file://{tmp_path}/hold.json")) as other:
            hold = Hold.model_validate(other.ask("acquire"))
            booted = psutil.boot_time()
            monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: booted + seconds)
            assert not hold.is_stale

    @pytest.mark.parametrize("make", [ended_hold, lambda: Hold.of_this_process(COMMAND)], ids=["ended", "this process"])
    def test_of_another_machine_is_never_stale(self, make: Callable[[], Hold]) -> None:
        """What happens on another machine cannot be seen from here, whatever the numbers of its processes."""
        assert not make().model_copy(update={"machine": "laptop/ab12cd"}).is_stale

    def test_of_another_machine_with_the_same_name_is_never_stale(self) -> None:
        """Two machines may have one name."""
        here = Hold.of_this_process(COMMAND)
        assert not here.model_copy(update={"machine": f"{here.machine.partition('/')[0]}/ab12cd"}).is_stale


class TestHoldFile:
    """Acquire, read, release, clear."""

    def test_what_is_acquired_can_be_read_and_released(self, place: Place) -> None:
        """Between acquire and release, whoever asks reads who is at work; before and after, nobody is."""
        assert place.open().read() is None
        hold = place.open().acquire(COMMAND)
        assert (os.getpid(), COMMAND) == (hold.process, hold.command)
        assert hold == place.open().read()
        place.open().release(hold)
        assert place.open().read() is None
        assert content_of(place) is None

    def test_people_can_read_the_file(self, place: Place) -> None:
        """The file is JSON with a line for each entry."""
        hold = place.open().acquire(COMMAND)
        text = (content_of(place) or b"").decode()
        assert hold.model_dump() == json.loads(text)
        assert len(Hold.model_fields) + 2 == len(text.splitlines())

    def test_can_be_acquired_again_after_release(self, place: Place) -> None:
        """A released store is free for the next run, of another process too."""
        file = place.open()
        file.release(file.acquire(COMMAND))
        with worker(place) as other:
            assert "token" in other.ask("acquire")
            other.ask("release")
        assert os.getpid() == file.acquire(COMMAND).process

    def test_a_second_holder_is_refused(self, place: Place) -> None:
        """One line says who is at work, where, since when, doing what, and how to clear what is left of a dead run."""
        put(place, ELSEWHERE)
        with pytest.raises(HoldError) as caught:
            place.open().acquire(COMMAND)
        message = caught.value.message
        named = ("ada", "laptop", "process 4711", ELSEWHERE.since, f"`{ELSEWHERE.command}`", "`kedro hold clear`")
        assert [] == [text for text in named if text not in message]
        assert "\n" not in message
        assert ELSEWHERE == place.open().read()

    def test_a_running_process_of_this_machine_is_not_disturbed(self, place: Place, other: Worker) -> None:
        """While another process is at work, this one is refused, and gets the store once it is released."""
        held = Hold.model_validate(other.ask("acquire"))
        with pytest.raises(HoldError, match=re.escape(str(held))):
            place.open().acquire(COMMAND)
        assert held == place.open().read()
        other.ask("release")
        assert os.getpid() == place.open().acquire(COMMAND).process

    def test_a_process_that_was_killed_is_followed(
        self, place: Place, other: Worker, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The hold of a process of this machine that died is taken over, and the log says whose it was."""
        held = Hold.model_validate(other.ask("acquire"))
        other.process.kill()
        other.process.wait()
        assert held == place.open().read()
        with caplog.at_level(logging.INFO, "ml_lifecycle.hold"):
            mine = place.open().acquire(COMMAND)
        assert [f"cleared the hold of {held}, which has ended"] == caplog.messages
        assert mine == place.open().read()

    def test_an_ended_process_is_followed(self, place: Place) -> None:
        """The hold of a process of this machine that ended long ago is taken over."""
        put(place, ended_hold())
        mine = place.open().acquire(COMMAND)
        assert mine == place.open().read()

    def test_this_process_follows_itself(self, place: Place) -> None:
        """What an earlier run in this process left over is taken over."""
        first = place.open().acquire(COMMAND)
        second = place.open().acquire(COMMAND)
        assert first.token != second.token
        assert second == place.open().read()

    def test_release_leaves_another_hold_alone(self, place: Place) -> None:
        """Who was cleared and replaced does not end the work of others."""
        file = place.open()
        mine = file.acquire(COMMAND)
        put(place, ELSEWHERE)
        file.release(mine)
        assert ELSEWHERE == file.read()

    def test_release_of_what_was_cleared_is_nothing(self, place: Place) -> None:
        """Who was cleared can still release."""
        file = place.open()
        mine = file.acquire(COMMAND)
        file.clear()
        file.release(mine)
        assert content_of(place) is None

    def test_clear_returns_what_it_removed(self, place: Place) -> None:
        """Clearing removes the hold, whoever has it, and tells whose it was."""
        put(place, ELSEWHERE)
        assert ELSEWHERE == place.open().clear()
        assert content_of(place) is None

    def test_clear_removes_what_came_after_a_listing(self, place: Place) -> None:
        """Who has listed the store before does not take the old list for what is there now."""
        file = place.open()
        put_by_another(replace(place, url=f"{place.url}.other"), ELSEWHERE)
        file._fs.ls(file._container)
        put_by_another(place, ELSEWHERE)
        assert ELSEWHERE == file.clear()
        assert content_of(place) is None

    def test_clear_leaves_who_is_at_work_alone(self, place: Place, other: Worker) -> None:
        """A process of this machine that lives keeps its hold; only force clears it, and the process notices."""
        held = Hold.model_validate(other.ask("acquire"))
        with pytest.raises(HoldError, match=rf"at work\. Wait, or end it: `kill {held.process}`.*`--force`"):
            place.open().clear()
        place.open().confirm(held)
        assert held == place.open().clear(by_force=True)
        with pytest.raises(HoldError, match="the store is held by nobody"):
            place.open().confirm(held)

    def test_who_was_replaced_notices(self, place: Place) -> None:
        """Who was cleared and replaced is told who is at work now."""
        mine = place.open().acquire(COMMAND)
        put(place, ELSEWHERE)
        with pytest.raises(HoldError, match=re.escape(f"the store is held by {ELSEWHERE}")):
            place.open().confirm(mine)

    def test_clear_on_nothing_is_nothing(self, place: Place) -> None:
        """There may be nothing to clear."""
        assert place.open().clear() is None

    @pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"token": "0", "user": "ada"}'])
    def test_an_unreadable_file_holds_too(self, place: Place, content: bytes) -> None:
        """A file that nobody can read means that somebody is at work: one line names it and says how to clear it."""
        put(place, content)
        for act in (place.open().read, lambda: place.open().acquire(COMMAND)):
            with pytest.raises(HoldError) as caught:
                act()
            assert place.url in caught.value.message
            assert "`kedro hold clear`" in caught.value.message
            assert "\n" not in caught.value.message
        assert content == content_of(place)

    def test_an_unreadable_file_can_be_cleared(self, place: Place) -> None:
        """Clearing removes what cannot be read, and cannot tell whose it was."""
        put(place, b"{}")
        assert place.open().clear() is None
        assert content_of(place) is None

    def test_the_store_itself_refuses_a_second_file(self, place: Place) -> None:
        """Who comes between reading and writing is not overwritten."""
        put(place, ELSEWHERE)
        with pytest.raises(HoldError, match=re.escape(str(ELSEWHERE))):
            place.open()._create(Hold.of_this_process(COMMAND))
        assert ELSEWHERE == place.open().read()


class TestMissing:
    """What the hold should lie in is not there."""

    def test_folder_is_not_created(self, tmp_path: Path) -> None:
        """A missing folder is an error, not a reason to make one."""
        file = HoldFile(f"file://{tmp_path}/nowhere/hold.json")
        with pytest.raises(FileNotFoundError):
            file.acquire(COMMAND)
        assert [] == list(tmp_path.iterdir())

    def test_bucket_is_not_created(self, store: ObjectStore) -> None:
        """A missing bucket is an error, not a reason to make one."""
        with pytest.raises(FileNotFoundError):
            Place.in_store(store, "nowhere/hold.json").open().acquire(COMMAND)
        assert [BUCKET] == store.files().ls("")

    def test_bucket_that_is_gone_is_no_other_holder(self, store: ObjectStore) -> None:
        """A store that cannot be written to is not taken for a held one."""
        with pytest.raises(FileNotFoundError):
            Place.in_store(store, "nowhere/hold.json").open()._create(Hold.of_this_process(COMMAND))

    def test_folder_in_a_bucket_need_not_be_there(self, store: ObjectStore) -> None:
        """Object stores have no folders: a longer name is a name like any other."""
        place = Place.in_store(store, f"{BUCKET}/{uuid.uuid4().hex}/hold.json")
        hold = place.open().acquire(COMMAND)
        assert hold == place.open().read()


def race(place: Place, folders: tuple[Path, Path], left_over: Hold | None = None) -> list[list[bool]]:
    """Let two processes, each with a folder for its temporary files, acquire at once; say for each round who got it."""
    rounds = []
    with worker(place, TMPDIR=str(folders[0])) as left, worker(place, TMPDIR=str(folders[1])) as right:
        for _ in range(ROUNDS):
            if left_over is not None:
                put(place, left_over)
            left.tell("acquire")
            right.tell("acquire")
            answers = [left.answer(), right.answer()]
            rounds.append(["token" in answer for answer in answers])
            for winner in (answer for answer in answers if "token" in answer):
                others = [answer["refused"] for answer in answers if "refused" in answer]
                assert [] == [text for text in others if f"process {winner['process']}" not in text]
            left.ask("release")
            right.ask("release")
            assert place.open().read() is None
    return rounds


def test_of_two_at_once_one_wins(place: Place, tmp_path: Path) -> None:
    """Two processes of one machine ask at the same time: one gets the store, the other is told by whom it is held."""
    assert [1] * ROUNDS == [sum(won) for won in race(place, (tmp_path, tmp_path))]


def test_of_two_at_once_one_follows_a_dead_process(place: Place, tmp_path: Path) -> None:
    """Two processes of one machine find the same hold of an ended one: the second does not remove that of the first."""
    assert [1] * ROUNDS == [sum(won) for won in race(place, (tmp_path, tmp_path), ended_hold())]


def test_of_two_machines_at_once_one_wins(stored: Place, tmp_path: Path) -> None:
    """Two processes that share nothing but the object store ask at the same time: the store decides for one."""
    folders = (tmp_path / "left", tmp_path / "right")
    for folder in folders:
        folder.mkdir()
    assert [1] * ROUNDS == [sum(won) for won in race(stored, folders)]
