"""The history of an alias: who pointed it where, when and why. MLflow's own has none, and no compare-and-set.

A move is a file with the next number, created only if it is not there, before the alias is set. Of all who
compared with the same version one creates it, so the history decides who moves, and the alias follows.
"""

import contextlib
import hashlib
import itertools
import os
import re
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import fsspec
from filelock import FileLock
from fsspec.implementations.local import LocalFileSystem
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_lifecycle.errors import LifecycleError

#: Seconds that a move of another machine may take from its entry to its alias before it counts as broken off.
PATIENCE = 10.0
#: Seconds between two looks at such a move.
PAUSE = 0.1
_NAME = re.compile(r"(\d{6})\.json")
#: What a store says of a single file that it cannot read; anything else is said of the store.
_UNREADABLE = (FileNotFoundError, IsADirectoryError, PermissionError)


class HistoryError(LifecycleError):
    """The history of an alias is damaged, or does not allow a move."""


class MovedError(HistoryError):
    """Somebody else moved the alias after it was compared with: compare again."""


class Draft(BaseModel):
    """A move as whoever makes it knows it.

    ``at`` is UTC, ISO 8601, in seconds. ``decision_sha256`` is that of the gate's record; None for a rollback.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    alias: str
    to: str
    to_digest: str
    action: Literal["first", "promote", "rollback"]
    forced: bool
    by: str
    where: str
    at: str
    reason: str
    decision_sha256: str | None


class Move(Draft):
    """A move as the history keeps it.

    ``found`` is the version the alias pointed to in MLflow, ``previous_sha256`` that of the file of the move before,
    and ``token`` tells two moves apart that are alike in all else.
    """

    number: int = Field(ge=1)
    found: str | None
    previous_sha256: str | None
    token: str = Field(default_factory=lambda: uuid.uuid4().hex)

    def __str__(self) -> str:
        """Which, what, who, where and when."""
        return f"move {self.number} ({self.action} to version {self.to} by {self.by} on {self.where} at {self.at})"


def previous(moves: Sequence[Move]) -> str | None:
    """The version a rollback goes back to; None if there is none.

    The moves are replayed on a stack, as an editor undoes: each puts its version on top, a rollback removes what lies
    above its own. So a second rollback goes a second step back, and a promotion after it starts from there. What a move
    found counts as well: an alias that was moved outside the history, or never set, is replayed as it was.
    """
    stack: list[str] = []
    for move in moves:
        if move.found is not None:
            _return_to(stack, move.found)
        if move.action == "rollback":
            _return_to(stack, move.to)
        elif stack[-1:] != [move.to]:
            stack.append(move.to)
    return stack[-2] if len(stack) > 1 else None


def _return_to(stack: list[str], version: str) -> None:
    """Remove what lies above a version; one that is not there is new."""
    if version not in stack:
        stack.append(version)
    while stack[-1] != version:
        stack.pop()


def _file(number: int) -> str:
    return f"{number:06}.json"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class AliasHistory:
    """A folder of histories, ``<url>/<model>/<alias>/000001.json`` and so on; local, or in an object store."""

    def __init__(self, url: str, options: dict[str, Any] | None = None) -> None:
        """Take an address that fsspec knows, and how to open it."""
        self._url = str(url).rstrip("/")
        # Others write there as well, and s3fs looks into its lists of files even to read one.
        self._fs, root = fsspec.core.url_to_fs(self._url, **{**(options or {}), "use_listings_cache": False})
        self._root: str = root.rstrip("/")
        self._is_local = isinstance(self._fs, LocalFileSystem)

    def read(self, model: str, alias: str) -> list[Move]:
        """List the moves of an alias, in order; empty if it was never moved.

        Raises:
            HistoryError: a file is missing between others, or cannot be read. Its message names the file.
        """
        stored = self._stored(model, alias)
        return [self._parsed(model, alias, number, content) for number, content in stored.items()]

    def problems(self, model: str, alias: str, points_to: str | None) -> list[str]:
        """Say what is wrong with a history, given the version its alias points to in MLflow; empty if nothing is.

        Not seen: who rewrites the last file but for ``to``, or removes the last ones and moves the alias back.
        """
        stored = self._stored(model, alias)
        moves: dict[int, Move] = {}
        unreadable = []
        for number, content in stored.items():
            try:
                moves[number] = self._parsed(model, alias, number, content)
            except HistoryError as error:
                unreadable.append(error.message)
        last = max(stored, default=0)
        found = [
            *(_broken(move, stored.get(number - 1)) for number, move in moves.items()),
            _elsewhere(model, alias, moves.get(last), points_to) if last in moves or not stored else None,
        ]
        return [*unreadable, *(text for text in found if text is not None)]

    def seams(self, model: str, alias: str) -> list[str]:
        """Say where a move found another version than the one before it left; empty if that never was so.

        A move that was broken off before the alias was set looks so, and an alias that was moved outside its history.
        Neither is undone by what came after, so both are told for ever.

        Raises:
            HistoryError: the history cannot be read.
        """
        moves = self.read(model, alias)
        found = (_outside(before, move) for before, move in itertools.pairwise(moves))
        return [text for text in found if text is not None]

    def move(
        self, draft: Draft, *, expected: str | None, get: Callable[[], str | None], put: Callable[[str], None]
    ) -> Move:
        """Point an alias to another version, unless it does not point to the expected one any more.

        ``get`` says which version it points to in MLflow, ``put`` sets it and is given versions of drafts only. A
        process that dies between its entry and its ``put`` leaves the alias where it was, which ``problems`` reports;
        the next move starts from where the alias is, both agree again, and ``seams`` tells of it.

        Returns the move; another may have followed by now.

        Raises:
            MovedError: somebody else moved the alias; nothing was moved.
            HistoryError: the last move cannot be read; nothing was moved.
        """
        with self._alone(draft.model, draft.alias):
            last = self._compared(draft, expected, get)
            move = Move(
                **draft.model_dump(),
                number=1 if last is None else last.number + 1,
                found=expected,
                previous_sha256=None if last is None else _sha256(self._fs.cat_file(self._path(last))),
            )
            self._create(move)
            self._settle(move, put)
        return move

    def _compared(self, draft: Draft, expected: str | None, get: Callable[[], str | None]) -> Move | None:
        """Return the last move, once the alias agrees with it or nobody can be at work between the two any more."""
        deadline = time.monotonic() + (0 if self._is_local else PATIENCE)  # in a local folder, we are alone
        while True:
            last = self._last(draft)
            now = get()  # after reading: who moves in between is noticed here, or takes the number
            if now != expected:
                by_move = last is not None and last.to == now
                raise _moved(draft, expected, str(last) if by_move else f"outside the history, to {_named(now)}")
            if last is None or last.to == now or time.monotonic() >= deadline:
                return last
            time.sleep(PAUSE)

    def _settle(self, move: Move, put: Callable[[str], None]) -> None:
        """Put the last entry's version until it still is the last one afterwards.

        Every entry is followed by a put. So whoever puts last of all has seen the last entry after it, and put that.
        """
        done, last = None, move
        while last.to != done:
            put(last.to)
            done, last = last.to, self._last(move) or move

    def _last(self, draft: Draft) -> Move | None:
        """Read the last move only: a move does not become slower with the years."""
        number = self._count(draft.model, draft.alias)
        (content,) = self._contents(draft.model, draft.alias, [number]) if number else (None,)
        return None if content is None else self._parsed(draft.model, draft.alias, number, content)

    def _alone(self, model: str, alias: str) -> contextlib.AbstractContextManager[Any]:
        """Keep other processes of this machine from a local folder; an object store decides by itself."""
        if not self._is_local:
            return contextlib.nullcontext()
        folder = Path(self._folder(model, alias))
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / ".lock")

    def _folder(self, model: str, alias: str) -> str:
        return f"{self._root}/{model}/{alias}"

    def _path(self, move: Move) -> str:
        return f"{self._folder(move.model, move.alias)}/{_file(move.number)}"

    def _count(self, model: str, alias: str) -> int:
        """Return the number of the last move; 0 if there is none."""
        try:
            listed = self._fs.ls(self._folder(model, alias), detail=False)
        except FileNotFoundError:
            if not self._is_local:
                self._fs.info(self._root.partition("/")[0])  # without its bucket, a history is not empty but missing
            return 0
        names = (_NAME.fullmatch(path.rpartition("/")[2]) for path in listed)
        return max((int(name[1]) for name in names if name), default=0)

    def _contents(self, model: str, alias: str, numbers: Sequence[int]) -> list[bytes | Exception]:
        """Return the files' bytes, or why they cannot be read."""
        contents = self._fs.cat_ranges([f"{self._folder(model, alias)}/{_file(n)}" for n in numbers], None, None)
        for content in contents:
            if isinstance(content, Exception) and not isinstance(content, _UNREADABLE):
                raise content
        return list(contents)

    def _stored(self, model: str, alias: str) -> dict[int, bytes | Exception]:
        """Map the numbers of all moves to the files' bytes, or to why they cannot be read."""
        numbers = range(1, self._count(model, alias) + 1)
        return dict(zip(numbers, self._contents(model, alias, numbers), strict=True))

    def _parsed(self, model: str, alias: str, number: int, content: bytes | Exception) -> Move:
        name = f"{self._url}/{model}/{alias}/{_file(number)}"
        if isinstance(content, FileNotFoundError):
            raise HistoryError(f"{name} is missing: the history of @{alias} of '{model}' has a gap at move {number}.")
        try:
            if isinstance(content, Exception):
                raise content
            move = Move.model_validate_json(content)
        except (*_UNREADABLE, ValidationError) as error:
            why = f"{error.error_count()} errors" if isinstance(error, ValidationError) else type(error).__name__
            raise HistoryError(f"{name} cannot be read as a move of @{alias} of '{model}' ({why}).") from None
        if (move.model, move.alias, move.number) != (model, alias, number):
            raise HistoryError(f"{name} holds another move: number {move.number} of @{move.alias} of '{move.model}'.")
        return move

    def _create(self, move: Move) -> None:
        content = move.model_dump_json(indent=2).encode()
        path = self._path(move)
        try:
            if self._is_local:
                _link(Path(path), content)
            else:
                self._fs.pipe_file(path, content, mode="create")
        except OSError as error:  # s3fs has no class of its own for "it is there already"
            try:
                self._fs.cat_file(path)
            except FileNotFoundError:
                raise error from error.__cause__
        if self._fs.cat_file(path) != content:
            winner = self._parsed(move.model, move.alias, move.number, self._fs.cat_file(path))
            raise _moved(move, move.found, str(winner))


def _link(path: Path, content: bytes) -> None:
    """Create a file that is not there, whole from the first moment on, after a power cut too."""
    draft = path.with_name(f".{uuid.uuid4().hex}")
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _named(version: str | None) -> str:
    return "nothing" if version is None else f"version {version}"


def _moved(draft: Draft, expected: str | None, how: str) -> MovedError:
    return MovedError(
        f"@{draft.alias} of '{draft.model}' was moved by somebody else meanwhile: {how}. "
        f"Version {draft.to} was compared with {_named(expected)}, so the alias was not moved. Compare again."
    )


def _broken(move: Move, before: bytes | Exception | None) -> str | None:
    """Say that the file before a move is not the one that was there when it was made; None if it is."""
    found = _sha256(before) if isinstance(before, bytes) else None
    if isinstance(before, Exception) or found == move.previous_sha256:  # what cannot be read is reported as such
        return None
    return (
        f"the chain of @{move.alias} of '{move.model}' is broken between the moves {move.number - 1} and {move.number}:"
        f" expected a file with SHA-256 {move.previous_sha256}, found {found}"
    )


def _outside(before: Move, move: Move) -> str | None:
    """Say that a move found another version than the one before it left; None if it did not."""
    if move.found == before.to:
        return None
    return (
        f"@{move.alias} of '{move.model}' was moved outside its history between the moves {before.number} and "
        f"{move.number}, or move {before.number} was broken off: from {_named(before.to)} to {_named(move.found)}"
    )


def _elsewhere(model: str, alias: str, last: Move | None, points_to: str | None) -> str | None:
    """Say that an alias does not point where the last move says; None if it does."""
    expected = None if last is None else last.to
    if points_to == expected:
        return None
    return (
        f"@{alias} of '{model}' points elsewhere than its history says: expected {_named(expected)}, "
        f"found {_named(points_to)}; last is {last or 'no move at all'}"
    )
