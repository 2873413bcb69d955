"""The prediction log on this machine's disk: files that one process appends to and another ships.

A *segment* is a file ``<worker>-<sequence>-<random>.segment`` of frames: the length of the payload, the same length
masked, CRC-32 of the payload (each 4 bytes, little endian), the payload (`ml_lifecycle.api.log_entry`). Whoever writes
a segment holds ``flock`` on it. It is *closed* once nobody does: the kernel lets go when a process dies, however it
dies, so that what it had answered can be shipped at once.

What survives: an answer whose `Segments.append` has returned is with the kernel. Killing the process, with SIGKILL as
well, loses none. A power cut or a crash of the kernel may lose what was appended since the last `Segments.sync`, which
the service calls every second, and no more on a disk that keeps what it confirmed.

Nothing here imports more than msgspec: it runs in the processes that answer requests.
"""

import errno
import fcntl
import os
import re
import secrets
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from ml_lifecycle.api import log_entry
from ml_lifecycle.api.log_entry import Entry
from ml_lifecycle.errors import LifecycleError

SUFFIX = ".segment"
#: Below the folder of the log: segments with a frame that cannot be read, kept for a person to look at.
DAMAGED = "damaged"
_HEADER = struct.Struct("<III")
_HEADER_BYTES = _HEADER.size
_MASK = 0xA5A5A5A5  # a header of zeros, as a crash of the kernel may leave it, is none
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_WORKER = re.compile(r"[A-Za-z0-9_]+")
#: Other processes fill and empty the folder as well: after so many bytes of its own, a writer measures it again.
_MEASURE_BYTES = 2**20
#: While the log is full it is measured no more often than this; requests must not wait for it.
_MEASURE_SECONDS = 0.05


class LogError(LifecycleError):
    """An answer that could not be put into the log."""


class LogFullError(LogError):
    """An answer that the log has no room for."""


#: macOS has no other.
_sync_data = getattr(os, "fdatasync", os.fsync)


def sync_folder(folder: Path) -> None:
    """Have the disk confirm which files a folder holds."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def segments_in(folder: Path) -> list[Path]:
    """List the segments of a folder, open ones too, in the order of their names."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def size_of(folder: Path) -> int:
    """Measure the segments of a folder in bytes, those set aside as damaged too."""
    return sum(_sizes(str(folder))) + sum(_sizes(str(folder / DAMAGED)))


def _sizes(folder: str) -> Iterator[int]:
    try:
        with os.scandir(folder) as files:
            for file in files:
                if file.name.endswith(SUFFIX):
                    try:
                        yield file.stat().st_size
                    except FileNotFoundError:  # shipped in between
                        continue
    except FileNotFoundError:
        return


@dataclass(frozen=True)
class Content:
    """What a segment holds.

    Attributes:
        payloads: of the frames that are whole, in order.
        torn: whether it ends within a frame, as that of a process killed in the middle of a write.
        damaged: how many places are not what was written; after one without a usable length nothing is read.
    """

    payloads: list[memoryview]
    torn: bool
    damaged: int


def read(content: bytes) -> Content:
    """Take a segment apart."""
    view, damaged, at = memoryview(content), 0, 0
    payloads: list[memoryview] = []
    while at + _HEADER_BYTES <= len(view):
        length, masked, checksum = _HEADER.unpack_from(view, at)
        start, end = at + _HEADER_BYTES, at + _HEADER_BYTES + length
        if length ^ _MASK != masked:
            is_unwritten = not any(view[at:])  # a power cut: the file had grown, its bytes had not reached the disk
            return Content(payloads, is_unwritten, damaged + (not is_unwritten))
        if end > len(view):
            break
        if crc32(view[start:end]) == checksum:
            payloads.append(view[start:end])
        else:
            damaged += 1
        at = end
    return Content(payloads, at < len(view), damaged)


class Segments:
    """The segments that one process writes, one after the other, into a folder that it may share with others.

    One thread may append while another syncs and rotates. A process that forks must not go on with it in both.

    Args:
        folder: made if it is not there, for this user alone.
        worker: who writes, the start of the files' names: letters, digits, underscores.
        max_bytes: what all segments in the folder may take together; several writers overrun it by at most what the
            others write while one writes a MiB.
        segment_bytes: a segment is closed before it gets larger, unless a single entry is.
        seconds: age at which `rotate_if_due` closes a segment.

    Raises:
        ValueError: a worker that cannot be the start of a file's name.
    """

    def __init__(self, folder: Path, worker: str, max_bytes: int, segment_bytes: int, seconds: float) -> None:
        if not _WORKER.fullmatch(worker):
            raise ValueError(f"worker {worker!r}: only letters, digits and underscores, as in 'worker_1'")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder, self._worker = folder, worker
        self._max_bytes, self._segment_bytes, self._seconds = max_bytes, segment_bytes, seconds
        self._lock = threading.Lock()
        self._buffer = bytearray()
        self._before: Path | None = None  # the segment before this one
        self._path: Path | None = None
        self._descriptor: int | None = None
        self._size, self._opened, self._sequence = 0, 0.0, 0
        self._to_sync: list[int] = []  # segments that are closed for the shipper, but not on the disk yet
        self._is_dirty = self._is_new = False
        self._bytes, self._measure_at, self._full_until = 0, 0, 0.0
        self._measure()

    @property
    def bytes_waiting(self) -> int:
        """What the segments in the folder take, as far as this process knows: a MiB or a segment late."""
        return self._bytes

    def append(self, entry: Entry) -> None:
        """Put an entry into the log, in one write, before returning.

        Raises:
            LogFullError: no room, within the bound or on the disk. The entry is not in the log.
            LogError: it cannot be written for another reason. The entry is not in the log.
        """
        with self._lock:
            buffer = self._buffer
            log_entry.encode_into(entry, buffer, _HEADER_BYTES)
            size = len(buffer)
            length = size - _HEADER_BYTES
            payload = memoryview(buffer)[_HEADER_BYTES:]
            checksum = crc32(payload)
            payload.release()  # a buffer that is looked at cannot change its size the next time
            _HEADER.pack_into(buffer, 0, length, length ^ _MASK, checksum)
            if self._bytes + size > self._measure_at:
                self._require_room(size)
            descriptor = self._descriptor
            if descriptor is None or (self._size + size > self._segment_bytes and self._size):
                descriptor = self._open()
            self._write(descriptor, buffer, size)
            self._size += size
            self._bytes += size
            self._is_dirty = True

    def rotate_if_due(self) -> None:
        """Close the segment if it is old enough, so that it is shipped; call this every second.

        A segment stays open while the one before is still there: when the store is away, few large files wait.
        """
        with self._lock:
            if self._descriptor is None or time.monotonic() - self._opened < self._seconds:
                return
            if self._before is None or not self._before.exists():
                self._retire()

    def sync(self) -> None:
        """Have the disk confirm all that was appended; call this every second, from a thread that may wait.

        Raises:
            LogError: the disk did not. What it holds is not known.
        """
        with self._lock:
            waiting, self._to_sync = self._to_sync, []
            if self._descriptor is not None and self._is_dirty:
                waiting.append(os.dup(self._descriptor))
            is_new, self._is_dirty, self._is_new = self._is_new, False, False
        error: OSError | None = None
        for descriptor in waiting:
            try:
                _sync_data(descriptor)
            except OSError as found:
                error = found
            finally:
                os.close(descriptor)
        try:
            if is_new:
                sync_folder(self.folder)
        except OSError as found:
            error = found
        if error is not None:
            raise LogError(
                f"The disk under the prediction log {self.folder} did not confirm what was written ({error}). Look "
                "after the disk: answers of the last second may be lost with a power cut."
            ) from error

    def close(self) -> None:
        """Close the segment for good, and sync."""
        with self._lock:
            self._retire()
        self.sync()

    def _measure(self) -> None:
        self._bytes = size_of(self.folder)
        self._measure_at = min(self._bytes + _MEASURE_BYTES, self._max_bytes)

    def _require_room(self, size: int) -> None:
        now = time.monotonic()
        if now >= self._full_until:
            self._measure()
            if self._bytes + size <= self._max_bytes:
                return
            self._full_until = now + _MEASURE_SECONDS
            self._retire()  # else what fills the log could be this segment, which nobody may ship while it is open
        raise LogFullError(
            f"The prediction log {self.folder} is full: {self._bytes:,} bytes wait to be shipped, {self._max_bytes:,} "
            "are allowed. See why the object store does not take them, or allow more (API_LOG_MAX_BYTES)."
        )

    def _open(self) -> int:
        self._retire()
        while True:
            self._sequence += 1
            path = self.folder / f"{self._worker}-{self._sequence:06}-{secrets.token_hex(8)}{SUFFIX}"
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            except OSError as error:
                raise self._refused(error) from error
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                break
            os.close(descriptor)  # a shipper took it, between the two calls, for one left behind empty
        self._before, self._path = self._path, path
        self._descriptor, self._size, self._opened, self._is_new = descriptor, 0, time.monotonic(), True
        return descriptor

    def _write(self, descriptor: int, frame: bytearray, size: int) -> None:
        error: OSError | None = None
        try:
            if os.write(descriptor, frame) == size:
                return
        except OSError as found:
            error = found
        try:
            os.ftruncate(descriptor, self._size)
        except OSError:
            self._retire()  # it ends with half a frame, which readers leave out
        raise self._refused(error or OSError(errno.ENOSPC, "only a part was written")) from error

    def _refused(self, error: OSError) -> LogError:
        if error.errno in _NO_ROOM:
            return LogFullError(
                f"The disk under the prediction log {self.folder} has no room ({error}). Free space, or see why the "
                "object store does not take what waits."
            )
        return LogError(f"The prediction log {self.folder} cannot be written ({error}). Look after the disk.")

    def _retire(self) -> None:
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # not by closing: a copy may be in `sync`
            self._to_sync.append(self._descriptor)
            self._descriptor = None
