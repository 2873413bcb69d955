"""Small files that are replaced as a whole, so that a reader finds the old content or the new one, never half of it."""

import errno
import os
import stat
import tempfile
from pathlib import Path

#: Bytes; a file beyond them is not one that was written here.
LARGEST = 32 * 2**20


def read(path: Path) -> bytes:
    """Read a file; whatever else it may be, a link or a pipe, nobody follows it or waits for it.

    Raises:
        FileNotFoundError: it is not there.
        OSError: it cannot be read, is no file, or is larger than ``LARGEST``.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no file", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(LARGEST + 1)
    finally:
        os.close(descriptor)
    if len(content) > LARGEST:
        raise OSError(errno.EFBIG, f"it is larger than {LARGEST} bytes", str(path))
    return content


def replace(path: Path, content: bytes, by_way_of: Path, *, durable: bool) -> None:
    """Write a file whole or not at all.

    Args:
        path: of the file.
        content: all of it.
        by_way_of: a folder on the same disk; what a process that is killed leaves half written stays there.
        durable: also through a power cut.

    Raises:
        OSError: the disk is full, or refuses.
    """
    with tempfile.NamedTemporaryFile(dir=by_way_of, prefix=f"{path.name}-", delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    if durable:
        sync(path.parent)


def sync(path: Path) -> None:
    """See that a file, or which names a folder holds, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def stamp(path: Path) -> tuple[int, ...] | None:
    """What is another once a file is replaced or written to; None without one. One look-up of the file system."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
