"""Who moved an alias: on a folder and on a store that decides by itself, one after the other and all at once."""

import contextlib
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import pytest
from mlflow import MlflowClient
from pydantic import ValidationError

from ml_lifecycle import alias_history
from ml_lifecycle.alias_history import AliasHistory, Draft, HistoryError, Move, MovedError, previous
from mlflow_store import own_mlflow

pytestmark = pytest.mark.filterwarnings("default")  # of third parties, as connections are closed

MODEL, ALIAS = "flights", "production"
PROCESSES = 6
ROUNDS = ("staging", "production", "production")  # the last goes on from the one before
MOVES = 2  # of each process in each round
#: A process of its own that moves an alias of a real MLflow: it tries until it has moved to each of its versions.
WORKER = """
import json, os, sys
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from ml_lifecycle.alias_history import AliasHistory, Draft, MovedError

url, options, uri, model = json.loads(sys.stdin.readline())
history, client = AliasHistory(url, options), MlflowClient(uri, uri)

def get():
    try:
        return str(client.get_model_version_by_alias(model, alias).version)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None

def put(version):
    client.set_registered_model_alias(model, alias, version)

def move(version, expected):
    draft = Draft(
        model=model, alias=alias, to=version, to_digest="0" * 64, action="promote" if expected else "first",
        forced=False, by=f"process {os.getpid()}", where="here", at="2013-06-01T10:00:00+00:00", reason="race",
        decision_sha256=None,
    )
    return history.move(draft, expected=expected, get=get, put=put)

alias = "none"
history.read(model, alias), get()  # so that it is connected
print(json.dumps({"ready": True}), flush=True)
while told := sys.stdin.readline().strip():
    alias, versions = json.loads(told)
    moved, lost = [], 0
    while versions:
        try:
            moved.append(move(versions[0], get()).model_dump())
            versions.pop(0)
        except MovedError:
            lost += 1
    print(json.dumps({"moved": moved, "lost": lost}), flush=True)
"""
#: A process that dies after its entry, before it sets the alias.
DYING = """
import os, sys
from ml_lifecycle.alias_history import AliasHistory, Draft

draft = Draft.model_validate_json(sys.argv[2])
AliasHistory(sys.argv[1]).move(draft, expected=sys.argv[3], get=lambda: sys.argv[3], put=lambda version: os._exit(9))
"""


@dataclass
class Registry:
    """An alias as MLflow keeps it: whoever sets it last, wins."""

    version: str | None = None
    puts: list[str] = field(default_factory=list)

    def get(self) -> str | None:
        """Say where it points."""
        return self.version

    def put(self, version: str) -> None:
        """Point it elsewhere."""
        self.version = version
        self.puts.append(version)


def draft(to: str, action: str = "promote", **changes: Any) -> Draft:
    """Describe a move."""
    known = {
        "model": MODEL,
        "alias": ALIAS,
        "to_digest": "0" * 64,
        "forced": False,
        "by": "ada",
        "where": "laptop",
        "at": "2013-06-01T10:00:00+00:00",
        "reason": "better than what was there",
        "decision_sha256": "1" * 64,
    }
    return Draft.model_validate({**known, "to": to, "action": action, **changes})


@dataclass(frozen=True)
class Place:
    """A folder of histories, and the alias they are about."""

    url: str
    registry: Registry = field(default_factory=Registry)

    @property
    def history(self) -> AliasHistory:
        """Open it, as a process of its own does."""
        return AliasHistory(self.url)

    def move(self, to: str, action: str = "promote", **changes: Any) -> Move:
        """Move the alias from where it is."""
        registry = self.registry
        return self.history.move(
            draft(to, action, **changes), expected=registry.get(), get=registry.get, put=registry.put
        )

    def read(self) -> list[Move]:
        """Read the moves."""
        return self.history.read(MODEL, ALIAS)

    def problems(self) -> list[str]:
        """Say what is wrong."""
        return self.history.problems(MODEL, ALIAS, self.registry.get())

    def seams(self) -> list[str]:
        """Say where a move found what the one before it did not leave."""
        return self.history.seams(MODEL, ALIAS)

    def name(self, number: int) -> str:
        """Name the file of a move."""
        return f"{self.url}/{MODEL}/{ALIAS}/{number:06}.json"

    def content(self, number: int) -> bytes:
        """Read the file of a move."""
        fs, path = fsspec.core.url_to_fs(self.name(number))
        return bytes(fs.cat_file(path))

    def write(self, number: int, content: bytes) -> None:
        """Write the file of a move, whatever it was."""
        fs, path = fsspec.core.url_to_fs(self.name(number))
        fs.pipe_file(path, content)

    def remove(self, number: int) -> None:
        """Remove the file of a move."""
        fs, path = fsspec.core.url_to_fs(self.name(number))
        fs.rm_file(path)


@pytest.fixture
def memory() -> Iterator[Place]:
    """Name a place that decides by itself, as object stores do."""
    place = Place(f"memory://{uuid.uuid4().hex}")
    yield place
    fs, path = fsspec.core.url_to_fs(place.url)
    if fs.exists(path):
        fs.rm(path, recursive=True)


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Name a place that is not there yet, of both kinds."""
    if request.param == "folder":
        return Place(str(tmp_path / "histories"))
    found: Place = request.getfixturevalue("memory")
    return found


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a move that has not set the alias yet for one that was broken off."""
    monkeypatch.setattr(alias_history, "PATIENCE", 0.0)


@pytest.fixture
def three(place: Place) -> Place:
    """Move an alias three times."""
    place.move("1", "first")
    place.move("2")
    place.move("3")
    return place


class TestMove:
    """What a move writes down, and when it is refused."""

    def test_is_written_down_and_sets_the_alias(self, place: Place) -> None:
        """A move is what its maker said, with its number, what it found and the digest of the file before."""
        first = place.move("1", "first")
        second = place.move("2")
        assert [first, second] == place.read()
        assert (1, None, None) == (first.number, first.found, first.previous_sha256)
        assert (2, "1") == (second.number, second.found)
        assert alias_history._sha256(place.content(1)) == second.previous_sha256
        assert draft("2").model_dump() == second.model_dump(include=set(Draft.model_fields))
        assert "2" == place.registry.get()
        assert [] == place.problems()

    def test_people_can_read_the_file(self, place: Place) -> None:
        """A file is JSON with a line for each entry."""
        move = place.move("1", "first")
        text = place.content(1).decode()
        assert move.model_dump() == json.loads(text)
        assert len(Move.model_fields) + 2 == len(text.splitlines())

    def test_nothing_else_is_left_in_a_folder(self, tmp_path: Path) -> None:
        """Beside the moves there may be a lock, and nothing else."""
        Place(str(tmp_path)).move("1", "first")
        left = {file.name for file in (tmp_path / MODEL / ALIAS).iterdir()}
        assert {"000001.json"} == left - {".lock"}

    def test_aliases_and_models_have_histories_of_their_own(self, place: Place) -> None:
        """A move of one alias is none of another one, or of another model."""
        place.move("1", "first")
        assert [] == place.history.read(MODEL, "staging")
        assert [] == place.history.read("trains", ALIAS)
        assert [] == place.history.problems(MODEL, "staging", None)

    def test_of_an_alias_that_was_set_before_its_history(self, place: Place) -> None:
        """A history may begin when the alias points somewhere already; a rollback goes back there."""
        place.registry.put("7")
        assert "7" == place.move("8").found
        assert [] == place.problems()
        assert "7" == previous(place.read())

    def test_is_refused_if_the_alias_was_moved(self, place: Place) -> None:
        """Who compared with what was there before is told who moved meanwhile, and nothing is moved."""
        place.move("1", "first")
        second, registry = place.move("2"), place.registry
        with pytest.raises(MovedError) as caught:
            place.history.move(draft("3"), expected="1", get=registry.get, put=registry.put)
        assert (
            "@production of 'flights' was moved by somebody else meanwhile: move 2 (promote to version 2 by ada on "
            "laptop at 2013-06-01T10:00:00+00:00). Version 3 was compared with version 1, so the alias was not moved. "
            "Compare again."
        ) == caught.value.message
        assert second == place.read()[-1]
        assert ["1", "2"] == registry.puts

    @pytest.mark.parametrize(("version", "named"), [("9", "version 9"), (None, "nothing")])
    def test_is_refused_if_the_alias_was_moved_by_hand(self, place: Place, version: str | None, named: str) -> None:
        """Who moved it outside the history, or removed it, is not known."""
        place.move("1", "first")
        with pytest.raises(MovedError, match=f"outside the history, to {named}"):
            place.history.move(draft("3"), expected="1", get=lambda: version, put=place.registry.put)
        assert ["1"] == place.registry.puts

    def test_starts_from_where_a_hand_left_the_alias(self, place: Place, impatient: None) -> None:
        """An alias that was moved by hand can be moved on; the history tells that it was not there."""
        place.move("1", "first")
        place.registry.put("9")
        assert "9" == place.move("2").found
        (problem,) = place.seams()
        assert [] == place.problems()
        assert "moved outside its history between the moves 1 and 2" in problem
        assert "from version 1 to version 9" in problem

    def test_holds_nothing_unknown(self) -> None:
        """A field that the project does not know, and an action that is none, are refused."""
        with pytest.raises(ValidationError, match="mood"):
            draft("1", mood="good")
        with pytest.raises(ValidationError, match="action"):
            draft("1", "demote")

    def test_needs_the_last_move(self, three: Place) -> None:
        """Nothing follows a move that cannot be read."""
        three.write(3, b"{}")
        with pytest.raises(HistoryError, match=r"000003\.json cannot be read"):
            three.move("4")
        assert "3" == three.registry.get()

    def test_damage_further_back_stays_and_is_no_hindrance(self, three: Place) -> None:
        """A gap is not closed by going on."""
        three.remove(2)
        assert 4 == three.move("4").number
        (problem,) = three.problems()
        assert f"{three.name(2)} is missing" in problem

    def test_leaves_nothing_if_the_disk_is_full(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that cannot be written is no move, not even half of one."""

        def refuse(number: int) -> None:
            raise OSError(28, "No space left on device")

        place = Place(str(tmp_path))
        monkeypatch.setattr(alias_history.os, "fsync", refuse)
        with pytest.raises(OSError, match="No space left"):
            place.move("1", "first")
        assert [] == [file for file in (tmp_path / MODEL / ALIAS).iterdir() if file.name != ".lock"]
        assert (None, []) == (place.registry.get(), place.problems())


class TestRead:
    """A history that is not whole is not read."""

    def test_a_gap(self, three: Place) -> None:
        """A missing file is named."""
        three.remove(2)
        with pytest.raises(HistoryError) as caught:
            three.read()
        assert f"{three.name(2)} is missing: the history of @production of 'flights' has a gap at move 2." == str(
            caught.value.message
        )

    @pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"number": 2}', b"[]"])
    def test_a_file_that_is_no_move(self, three: Place, content: bytes) -> None:
        """A file that holds something else is named, in one line."""
        three.write(2, content)
        with pytest.raises(HistoryError) as caught:
            three.read()
        assert f"{three.name(2)} cannot be read as a move" in caught.value.message
        assert "\n" not in caught.value.message

    def test_a_file_of_another_number(self, three: Place) -> None:
        """A move that was copied to another name is not taken for one."""
        three.write(2, three.content(1))
        with pytest.raises(
            HistoryError, match=r"000002\.json holds another move: number 1 of @production of 'flights'"
        ):
            three.read()

    def test_a_folder_in_place_of_a_file(self, tmp_path: Path) -> None:
        """What cannot be opened is named too."""
        (tmp_path / MODEL / ALIAS / "000001.json").mkdir(parents=True)
        with pytest.raises(HistoryError, match=r"000001\.json cannot be read .* \(IsADirectoryError\)"):
            Place(str(tmp_path)).read()

    def test_a_store_that_fails_is_no_damaged_history(self, memory: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """An error of the store goes on as it is, to whoever explains those."""
        memory.move("1", "first")
        history = memory.history
        failing = [ConnectionError("away")]
        monkeypatch.setattr(history._fs, "cat_ranges", lambda *arguments: failing)
        with pytest.raises(ConnectionError, match="away"):
            history.problems(MODEL, ALIAS, "1")


class TestProblems:
    """Each kind of damage is said by name, and nothing else is."""

    def test_a_sound_history_has_none(self, three: Place) -> None:
        """Nothing is wrong with three moves and an alias that points where the last says."""
        assert [] == three.problems()

    def test_the_last_move_is_gone(self, three: Place) -> None:
        """Without its file, the alias points where no move says."""
        three.remove(3)
        (problem,) = three.problems()
        assert (
            "@production of 'flights' points elsewhere than its history says: expected version 2, found version 3; "
            "last is move 2 (promote to version 2 by ada on laptop at 2013-06-01T10:00:00+00:00)"
        ) == problem

    def test_all_moves_are_gone(self, three: Place) -> None:
        """An alias without a history points somewhere."""
        for number in (1, 2, 3):
            three.remove(number)
        (problem,) = three.problems()
        assert "expected nothing, found version 3; last is no move at all" in problem

    def test_a_move_in_the_middle_is_gone(self, three: Place) -> None:
        """The gap is named, once."""
        three.remove(2)
        (problem,) = three.problems()
        assert f"{three.name(2)} is missing" in problem

    def test_the_first_move_is_gone(self, three: Place) -> None:
        """The first file is missed like any other."""
        three.remove(1)
        (problem,) = three.problems()
        assert f"{three.name(1)} is missing" in problem

    def test_a_byte_was_changed(self, three: Place) -> None:
        """A move that reads differently is no more the one that the next followed."""
        three.write(2, three.content(2).replace(b"laptop", b"lapdog"))
        (problem,) = three.problems()
        assert "the chain of @production of 'flights' is broken between the moves 2 and 3: expected a file" in problem
        assert [2] == [move.number for move in three.read() if move.where == "lapdog"]

    def test_a_file_was_destroyed(self, three: Place) -> None:
        """A file that is no move any more is named, and so is the chain that it breaks."""
        three.write(2, b"{}")
        unreadable, chain = three.problems()
        assert f"{three.name(2)} cannot be read" in unreadable
        assert "broken between the moves 2 and 3" in chain

    def test_the_last_file_was_destroyed(self, three: Place) -> None:
        """Where the alias should point is not known then, so nothing is said about it."""
        three.write(3, b"{")
        (problem,) = three.problems()
        assert f"{three.name(3)} cannot be read" in problem

    def test_the_first_move_followed_another(self, three: Place) -> None:
        """A history whose beginning was cut off, and its files renamed, is no whole one."""
        moves = three.read()
        for number in (1, 2, 3):
            three.remove(number)
        cut = moves[1].model_copy(update={"number": 1})
        three.write(1, cut.model_dump_json().encode())
        three.registry.put("2")
        (problem,) = three.problems()
        assert "broken between the moves 0 and 1" in problem

    def test_the_alias_was_moved_by_hand(self, three: Place) -> None:
        """Expected and found are said."""
        three.registry.put("1")
        (problem,) = three.problems()
        assert "expected version 3, found version 1" in problem

    def test_the_alias_was_removed(self, three: Place) -> None:
        """An alias that is not there points nowhere."""
        assert ["expected version 3, found nothing"] == [
            problem.partition(": ")[2].partition(";")[0] for problem in three.history.problems(MODEL, ALIAS, None)
        ]

    def test_all_at_once(self, three: Place) -> None:
        """One kind of damage does not hide another."""
        three.move("4")
        three.write(1, b"\x00")
        three.remove(3)
        three.registry.put("1")
        starts = (three.name(1), three.name(3), "the chain", "@production of 'flights' points elsewhere")
        problems = three.problems()
        assert [True] * len(starts) == [
            problem.startswith(start) for problem, start in zip(problems, starts, strict=True)
        ]

    def test_other_files_are_nobodys_business(self, three: Place) -> None:
        """A file with another name is no move."""
        fs, folder = fsspec.core.url_to_fs(f"{three.url}/{MODEL}/{ALIAS}")
        fs.pipe_file(f"{folder}/notes.txt", b"hello")
        fs.pipe_file(f"{folder}/000004.json.bak", b"hello")
        assert [] == three.problems()


def replayed(*steps: tuple[str, str, str | None]) -> list[Move]:
    """Make moves of (action, to, found)."""
    return [
        Move(**draft(to, action).model_dump(), number=number, found=found, previous_sha256=None)
        for number, (action, to, found) in enumerate(steps, start=1)
    ]


class TestPrevious:
    """Where a rollback goes back to."""

    @pytest.mark.parametrize(
        ("steps", "expected"),
        [
            ([], None),
            ([("first", "1", None)], None),
            ([("first", "1", None), ("promote", "2", "1")], "1"),
            ([("first", "1", None), ("promote", "2", "1"), ("promote", "3", "2")], "2"),
        ],
    )
    def test_before_any_rollback(self, steps: list[tuple[str, str, str | None]], expected: str | None) -> None:
        """It is the version before the present one, if there was one."""
        assert expected == previous(replayed(*steps))

    def test_two_rollbacks_are_two_steps(self, place: Place) -> None:
        """Rolling back goes on backwards, not to and fro, until nothing is left."""
        place.move("1", "first")
        place.move("2")
        place.move("3")
        went = []
        while (version := previous(place.read())) is not None:
            went.append(place.move(version, "rollback", decision_sha256=None).to)
        assert ["2", "1"] == went
        assert ("1", []) == (place.registry.get(), place.problems())

    def test_a_promotion_after_a_rollback_starts_anew(self) -> None:
        """What was rolled back is out of the way: after 1, 2, back to 1, then 3, a rollback goes to 1."""
        steps = [("first", "1", None), ("promote", "2", "1"), ("rollback", "1", "2"), ("promote", "3", "1")]
        assert "1" == previous(replayed(*steps))

    def test_a_version_may_come_back(self) -> None:
        """Versions that were promoted again count as often as they were; one that was there already does not."""
        steps = [("first", "1", None), ("promote", "2", "1"), ("promote", "1", "2"), ("promote", "1", "1")]
        assert "2" == previous(replayed(*steps))
        assert "1" == previous(replayed(*steps, ("rollback", "2", "1")))
        assert None is previous(replayed(*steps, ("rollback", "2", "1"), ("rollback", "1", "2")))

    def test_what_a_hand_did_is_replayed(self) -> None:
        """After 1, 2, and a move to 9 by hand, promoting 3 replaced 9."""
        steps = [("first", "1", None), ("promote", "2", "1"), ("promote", "3", "9")]
        assert "9" == previous(replayed(*steps))
        assert "2" == previous(replayed(*steps, ("rollback", "9", "3")))

    def test_a_move_that_was_broken_off_never_was(self) -> None:
        """After 1, and a move to 2 that never set the alias, promoting 3 replaced 1."""
        steps = [("first", "1", None), ("promote", "2", "1"), ("promote", "3", "1")]
        assert "1" == previous(replayed(*steps))
        assert None is previous(replayed(*steps, ("rollback", "1", "3")))

    def test_an_alias_that_was_removed(self) -> None:
        """Removing an alias by hand does not remove what it had been."""
        assert "1" == previous(replayed(("first", "1", None), ("promote", "2", None)))


def naive(
    history: AliasHistory, draft: Draft, expected: str | None, registry: Registry, put: Callable[[str], None]
) -> None:
    """Move as one would without thinking of others: compare, write down, set."""
    number = len(history.read(draft.model, draft.alias)) + 1
    assert expected == registry.get()
    move = Move(**draft.model_dump(), number=number, found=expected, previous_sha256=None)
    path = history._path(move)
    put(draft.to)
    history._fs.makedirs(history._fs._parent(path), exist_ok=True)
    history._fs.pipe_file(path, move.model_dump_json().encode())


class TestInterleavings:
    """Two processes on a store that both reach, step by step, in every order that matters."""

    def test_the_other_moves_between_comparing_and_writing(self, memory: Place) -> None:
        """The number is taken: who compared too early is told who took it, and has moved nothing."""
        place, registry = memory, memory.registry
        place.move("1", "first")

        def get() -> str | None:
            found = registry.get()
            place.move("2", by="bob")
            return found

        with pytest.raises(MovedError, match=r"move 2 \(promote to version 2 by bob on laptop") as caught:
            place.history.move(draft("3"), expected="1", get=get, put=registry.put)
        assert "Version 3 was compared with version 1" in caught.value.message
        assert ["1", "2"] == [move.to for move in place.read()]
        assert ("2", []) == (registry.get(), place.problems())

    def test_the_other_overtakes_between_entry_and_alias(self, memory: Place, impatient: None) -> None:
        """A creates its entry and pauses, B moves and ends, A goes on: the alias is B's, whose entry is the last."""
        place, registry = memory, memory.registry
        place.move("1", "first")
        went = []

        def put(version: str) -> None:
            if not went:
                went.append(place.move("3", by="bob"))
            registry.put(version)

        mine = place.history.move(draft("2"), expected="1", get=registry.get, put=put)
        assert [2, 3] == [mine.number, went[0].number]
        assert ["1", "3", "2", "3"] == registry.puts
        assert "3" == registry.get() == place.read()[-1].to
        (problem,) = place.seams()
        assert [] == place.problems()
        assert "between the moves 2 and 3, or move 2 was broken off: from version 2 to version 1" in problem

    def test_two_others_overtake_one_after_the_other(self, memory: Place, impatient: None) -> None:
        """Whoever comes back puts as often as it takes."""
        place, registry = memory, memory.registry
        overtaking = ["2", "3"]

        def put(version: str) -> None:
            if overtaking:
                place.move(overtaking.pop(0))
            registry.put(version)

        place.history.move(draft("1", "first"), expected=None, get=registry.get, put=put)
        assert "3" == registry.get() == place.read()[-1].to
        assert [1, 2, 3] == [move.number for move in place.read()]

    def test_a_move_between_entry_and_alias_is_waited_for(self, memory: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who finds an entry whose alias is not set yet waits, and then is told that it was moved."""
        place, registry = memory, memory.registry
        place.move("1", "first")
        refused = []

        def put(version: str) -> None:
            monkeypatch.setattr(alias_history.time, "sleep", lambda seconds: registry.put(version))
            with pytest.raises(MovedError, match=r"meanwhile: move 2 \(promote to version 2") as caught:
                place.move("3")
            refused.append(caught.value.message)
            registry.put(version)

        place.history.move(draft("2"), expected="1", get=registry.get, put=put)
        assert 1 == len(refused)
        assert ("2", []) == (registry.get(), place.problems())

    def test_a_naive_move_loses_one(self, memory: Place) -> None:
        """The same order of steps without the conditional entry: both believe they moved, one entry is lost."""
        place, registry = memory, memory.registry
        place.move("1", "first")

        def put(version: str) -> None:
            naive(place.history, draft("3"), "1", registry, registry.put)
            registry.put(version)

        naive(place.history, draft("2"), "1", registry, put)
        assert ["1", "2"] == [move.to for move in place.read()]  # of three moves that all succeeded

    def test_without_settling_the_alias_is_left_behind(
        self, memory: Place, impatient: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who sets the alias once, without looking again, puts back what another has replaced."""
        place, registry = memory, memory.registry
        monkeypatch.setattr(AliasHistory, "_settle", lambda self, move, put: put(move.to))
        place.move("1", "first")

        def put(version: str) -> None:
            place.move("3")
            registry.put(version)

        place.history.move(draft("2"), expected="1", get=registry.get, put=put)
        assert ("2", "3") == (registry.get(), place.read()[-1].to)
        assert any("expected version 3, found version 2" in problem for problem in place.problems())


class TestBrokenOff:
    """A process dies, or the registry goes away, between the entry and the alias."""

    @pytest.mark.usefixtures("impatient")
    def test_is_reported_and_repaired_by_the_next_move(self, place: Place) -> None:
        """The alias is where it was, which is a problem; the next move starts there, and both agree again."""
        registry = place.registry
        place.move("1", "first")

        def away(version: str) -> None:
            raise ConnectionError(f"cannot set {version}")

        with pytest.raises(ConnectionError):
            place.history.move(draft("2"), expected="1", get=registry.get, put=away)
        (problem,) = place.problems()
        assert "points elsewhere than its history says: expected version 2, found version 1" in problem
        place.move("2")
        (left,) = place.seams()
        assert [] == place.problems()
        assert "between the moves 2 and 3, or move 2 was broken off: from version 2 to version 1" in left
        assert ("2", "1") == (registry.get(), previous(place.read()))

    def test_a_killed_process_leaves_no_lock(self, tmp_path: Path) -> None:
        """A process that dies in a folder leaves a whole entry and nothing that keeps others out."""
        place = Place(str(tmp_path))
        place.move("1", "first")
        command = [sys.executable, "-c", DYING, place.url, draft("2").model_dump_json(), "1"]
        assert 9 == subprocess.run(command, check=False).returncode
        assert ["1", "2"] == [move.to for move in place.read()]
        assert 3 == place.move("2").number
        assert "2" == place.registry.get()


class TestStores:
    """What stores do to a file that is created only if it is not there."""

    def test_an_answer_that_was_lost(self, memory: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """A request that was sent again, and refused because the first one had worked, is no lost race."""
        history = memory.history
        create = history._fs.pipe_file

        def twice(path: str, value: bytes, mode: str) -> None:
            create(path, value, mode=mode)
            create(path, value, mode=mode)

        monkeypatch.setattr(history._fs, "pipe_file", twice)
        assert "1" == memory.move("1", "first").to == memory.registry.get()

    def test_one_that_overwrites(self, memory: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a store that ignores the condition, who looks again sees that another was written down."""
        history = memory.history
        create = history._fs.pipe_file
        other = Move(**draft("2", by="bob").model_dump(), number=1, found=None, previous_sha256=None)

        def overwritten(path: str, value: bytes, mode: str) -> None:
            create(path, value, mode=mode)
            create(path, other.model_dump_json().encode())

        monkeypatch.setattr(history._fs, "pipe_file", overwritten)
        with pytest.raises(MovedError, match="by bob"):
            memory.move("1", "first")
        assert [] == memory.registry.puts

    def test_one_that_takes_no_file(self, memory: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """A store that refuses for another reason is no lost race."""

        def refuse(path: str, value: bytes, mode: str) -> None:
            raise PermissionError("Access Denied")

        monkeypatch.setattr(memory.history._fs, "pipe_file", refuse)
        with pytest.raises(PermissionError, match="Access Denied"):
            memory.move("1", "first")
        assert [] == memory.registry.puts

    def test_one_that_lists_too_little(self, three: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """A list made while others write may lack a file before the last; it is read all the same."""
        history = three.history
        everything = history._fs.ls

        def most(*arguments: Any, **options: Any) -> list[str]:
            return [name for name in everything(*arguments, **options) if not name.endswith("2.json")]

        monkeypatch.setattr(history._fs, "ls", most)
        assert [1, 2, 3] == [move.number for move in history.read(MODEL, ALIAS)]


@dataclass(frozen=True)
class Track:
    """Where a race is run: a history, how to open it, and an MLflow with the versions 1 to ``PROCESSES``."""

    url: str
    options: dict[str, Any]
    uri: str
    model: str

    def register(self) -> None:
        """Create the model and its versions."""
        client = MlflowClient(self.uri, self.uri)
        client.create_registered_model(self.model)
        for _ in range(PROCESSES):
            client.create_model_version(self.model, "s3://nowhere/model")

    def points_to(self, alias: str) -> str:
        """Say which version an alias points to."""
        return str(MlflowClient(self.uri, self.uri).get_model_version_by_alias(self.model, alias).version)


@contextlib.contextmanager
def worker(track: Track) -> Iterator["subprocess.Popen[str]"]:
    """Start another process, and see that it ends."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", WORKER], **pipes) as process:
        try:
            tell(process, [track.url, track.options, track.uri, track.model])
            yield process
        finally:
            process.kill()


def tell(process: "subprocess.Popen[str]", what: Any) -> None:
    """Send a process a line; it works while we go on."""
    assert process.stdin is not None
    process.stdin.write(f"{json.dumps(what)}\n")
    process.stdin.flush()


def answer(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Wait for its answer."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the other process has ended"
    found: dict[str, Any] = json.loads(line)
    return found


def race(track: Track) -> None:
    """Let processes move an alias all at once, round after round, and see that nobody's move is lost."""
    track.register()
    history = AliasHistory(track.url, track.options)
    reported: dict[str, list[dict[str, Any]]] = {alias: [] for alias in ROUNDS}
    lost = 0
    with contextlib.ExitStack() as started:
        processes = [started.enter_context(worker(track)) for _ in range(PROCESSES)]
        assert [{"ready": True}] * PROCESSES == [answer(process) for process in processes]
        for alias in ROUNDS:
            for number, process in enumerate(processes):
                tell(process, [alias, [str((number + step) % PROCESSES + 1) for step in range(MOVES)]])
            for found in [answer(process) for process in processes]:
                reported[alias] += found["moved"]
                lost += found["lost"]
            moves = history.read(track.model, alias)
            by_number = sorted(reported[alias], key=lambda move: move["number"])
            assert by_number == [move.model_dump() for move in moves]  # each success one entry, each entry one success
            assert list(range(1, len(moves) + 1)) == [move.number for move in moves]
            assert PROCESSES * MOVES * ROUNDS[: ROUNDS.index(alias) + 1].count(alias) <= len(moves)
            assert track.points_to(alias) == moves[-1].to
            assert [] == history.problems(track.model, alias, track.points_to(alias))
    assert lost > 0, "nobody was in anybody's way, so nothing was shown"


def test_processes_of_one_machine(tmp_path: Path) -> None:
    """On SQLite and a folder, six processes move at once, and no move is lost."""
    with own_mlflow(tmp_path):
        race(Track(str(tmp_path / "histories"), {}, f"sqlite:///{tmp_path / 'mlflow.db'}", MODEL))
