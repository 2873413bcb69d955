"""Moves closed segments of the prediction log to where the log is read: Parquet files, by day.

``python -m ml_lifecycle.api.log_shipping FOLDER URL`` ships what a machine left behind whose service runs no more.

*Exactly once*: the name of a file follows from its segment, and a segment is deleted only after all its files are in
place. Whoever is killed in between makes the same files again, under the same names.

The store may refuse everything but writing one object: no folder is listed, made or looked at.
"""

import argparse
import asyncio
import contextlib
import fcntl
import io
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import fsspec
import fsspec.asyn
import msgspec
from arro3.core import Array, DataType, RecordBatch, RecordBatchReader
from arro3.io import write_parquet
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from ml_lifecycle import faults, request_id
from ml_lifecycle.api import log_entry, log_segments
from ml_lifecycle.api.log_entry import Entry
from ml_lifecycle.prediction_columns import MOMENT, SCHEMA

#: A store that does not answer is given up soon, in seconds: there is a next time.
_GIVE_UP_SOON = {"connect_timeout": 5, "read_timeout": 30, "retries": {"mode": "standard", "max_attempts": 1}}
#: The same for one whole file. Without it nothing ends an upload to a store that takes the connection and says nothing:
#: aiohttp waits for the `100 Continue` that botocore asks for without looking at its timeouts.
_UPLOAD_SECONDS = 60.0
#: Rows become columns, which take less memory, in pieces of this size, in bytes of their inputs.
_PIECE_BYTES = 4 * 2**20
_EPOCH, _MICROSECOND = datetime.fromtimestamp(0, UTC), timedelta(microseconds=1)


@dataclass(frozen=True)
class Shipped:
    """What became of the segments.

    Attributes:
        segments: how many were shipped, those set aside included.
        rows: answers in them.
        torn: how many of them ended within an answer that nobody got: the process was killed while it wrote.
        damaged: places in them that are not what was written; the segments now lie in ``damaged/``.
        open: segments that somebody still writes.
        waiting: closed segments that are still to be shipped.
        waiting_bytes: what they take.
        error: why something is not as it should be, in one line; None if all is well.
    """

    segments: int = 0
    rows: int = 0
    torn: int = 0
    damaged: int = 0
    open: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    error: str | None = None


class _StoreError(Exception):
    """The store does not take a file; its cause says why."""


def _rows_of(entry: Entry) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of an entry, each with the folder of its day."""
    common = {
        "model_name": entry.model_name,
        "model_version": entry.model_version,
        "model_digest": entry.model_digest,
        "scored_at": entry.scored,
        "threshold": entry.threshold,
        "protocol": entry.protocol,
        "correlation_id": entry.correlation_id,
    }
    each = zip(entry.request_ids, entry.keys, entry.probabilities, entry.decisions, entry.inputs_by_row(), strict=True)
    for name, key, probability, decision, inputs in each:
        row = {"request_id": name, "request_key": key, "probability": probability, "decision": decision}
        yield request_id.folder_of(request_id.day_of(name)), {**row, **common, "inputs": inputs}


def _array(values: list[Any], type_: DataType) -> Array:
    if type_ == MOMENT:
        return Array([(moment - _EPOCH) // _MICROSECOND for moment in values], DataType.int64()).cast(MOMENT)
    return Array(values, type_)


class _Day:
    """The Parquet file of one segment and one day, in memory."""

    def __init__(self) -> None:
        self._batches: list[RecordBatch] = []
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        self._bytes += len(row["inputs"])
        if self._bytes >= _PIECE_BYTES:
            self._flush()

    def content(self) -> bytes:
        self._flush()
        file = io.BytesIO()
        write_parquet(RecordBatchReader.from_batches(SCHEMA, self._batches), file, compression="zstd(1)")
        return file.getvalue()

    def _flush(self) -> None:
        if self._rows:
            named = zip(SCHEMA.names, SCHEMA.types, strict=True)
            columns = [_array([row[name] for row in self._rows], type_) for name, type_ in named]
            self._batches.append(RecordBatch.from_arrays(columns, schema=SCHEMA))
        self._rows, self._bytes = [], 0


@dataclass(frozen=True)
class _Files:
    """What a segment becomes."""

    by_day: dict[str, bytes]
    rows: int
    torn: bool
    damaged: int


def _files_of(content: bytes) -> _Files:
    found = log_segments.read(content)
    days: defaultdict[str, _Day] = defaultdict(_Day)
    rows, damaged = 0, found.damaged
    for payload in found.payloads:
        try:
            entry = list(_rows_of(log_entry.decode(payload)))
        except (msgspec.MsgspecError, ValueError, OverflowError):  # whole, but what wrote it was wrong
            damaged += 1
            continue
        for day, row in entry:
            days[day].add(row)
        rows += len(entry)
    return _Files({day: file.content() for day, file in days.items()}, rows, found.torn, damaged)


def _put(url: str, options: Mapping[str, Any], name: str, content: bytes) -> None:
    """Write a file so that readers see all of it or nothing, and that a power cut leaves it there."""
    if url.startswith("s3://"):
        options = {"config_kwargs": _GIVE_UP_SOON, **options}
    files, log = fsspec.core.url_to_fs(url, **options)
    files.retries = 1  # s3fs's own, beside botocore's
    if not isinstance(files, LocalFileSystem):
        _upload(files, f"{log}/{name}", content)
        return
    target = Path(log, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.unfinished")  # readers take names that end in .parquet
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(target)
    log_segments.sync_folder(target.parent)
    log_segments.sync_folder(target.parent.parent)


def _upload(files: Any, path: str, content: bytes) -> None:
    if not files.async_impl or isinstance(files, DirFileSystem):  # which says it is, whatever it wraps
        files.pipe_file(path, content)
        return

    async def within() -> None:
        async with asyncio.timeout(_UPLOAD_SECONDS):
            await files._pipe_file(path, content)

    try:
        fsspec.asyn.sync(files.loop, within)
    except TimeoutError as error:
        raise TimeoutError(
            f"the store did not take {path} within {_UPLOAD_SECONDS:.0f} seconds. See whether it is well, and the line "
            "to it fast enough."
        ) from error


def _set_aside(segment: Path) -> None:
    place = segment.parent / log_segments.DAMAGED
    place.mkdir(exist_ok=True, mode=0o700)
    segment.replace(place / segment.name)


@contextlib.contextmanager
def _claimed(segment: Path) -> Iterator[int | None]:
    """Hold a closed segment, as its writer did; None if it is open, or somebody else is shipping it."""
    descriptor = os.open(segment, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield None
    else:
        yield descriptor
    finally:
        os.close(descriptor)


class _Shipment:
    """What one call does, and has done so far."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._url, self._options = url, options
        self._counts: Counter[str] = Counter()
        self._error: str | None = None
        self._is_away = False

    def take(self, segment: Path) -> None:
        """Ship a segment if it is closed; if it cannot be shipped, it waits."""
        with contextlib.suppress(FileNotFoundError), _claimed(segment) as descriptor:
            if descriptor is None:
                self._counts["open"] += 1
                return
            state = os.fstat(descriptor)
            if not state.st_nlink:  # shipped by somebody else in between
                return
            try:
                if not self._is_away:
                    self._ship(segment, descriptor)
                    return
            except _StoreError as error:
                self._is_away, self._error = True, _told(error.__cause__ or error)
            except OSError as error:
                self._error = f"The segment {segment} cannot be shipped: {error}. Look after the disk."
            self._counts.update(waiting=1, waiting_bytes=state.st_size)

    def _ship(self, segment: Path, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            made = _files_of(file.read())
        for day, content in made.by_day.items():
            try:
                _put(self._url, self._options, f"{day}/{segment.stem}.parquet", content)
            except Exception as error:
                raise _StoreError from error
        if made.damaged:
            _set_aside(segment)
            self._error = self._error or (
                f"The segment {segment.name} has {made.damaged} damaged places: not all of its answers could be "
                f"shipped. It lies in {segment.parent / log_segments.DAMAGED}; look after the disk."
            )
        else:
            segment.unlink()
        self._counts.update(segments=1, rows=made.rows, torn=made.torn, damaged=made.damaged)

    @property
    def outcome(self) -> Shipped:
        return Shipped(**self._counts, error=self._error)


def _told(error: BaseException) -> str:
    fault = faults.explain(error)
    return fault.text if fault else f"{type(error).__name__}: {error}"


def ship(folder: Path, url: str, options: Mapping[str, Any] | None = None) -> Shipped:
    """Move the closed segments of a folder to the prediction log.

    A store that is away costs one attempt, of up to a minute if it swallows what is sent: call this from a thread that
    may wait. Several processes may do so at once.

    Args:
        folder: where `log_segments.Segments` writes.
        url: the folder of the log, an address that fsspec knows.
        options: how to open the address.

    Returns:
        What was done, what is left to do, and why. It does not raise if the store or the disk fails: nothing is lost,
        and the next call goes on.
    """
    shipment = _Shipment(url, options or {})
    for segment in log_segments.segments_in(folder):
        shipment.take(segment)
    return shipment.outcome


def main() -> None:
    """Ship what lies in a folder and say so in one line; 1 if something is left, or damaged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with the segments: log/ in the cache of the service")
    parser.add_argument("url", help="the folder of the prediction log, as the service has it")
    given = parser.parse_args()
    if not given.folder.is_dir():
        raise SystemExit(f"Error: there is no folder {given.folder}. Name the one with the segments.")
    done = ship(given.folder, given.url)
    told = f"{done.rows} answers of {done.segments} segments shipped to {faults.without_password(given.url)}"
    left = f"{done.waiting} segments wait, {done.open} are being written"
    if done.error:
        raise SystemExit(f"Error: {done.error} ({told}; {left}.)")
    click.echo(f"{told}; {left}.")


if __name__ == "__main__":
    main()
