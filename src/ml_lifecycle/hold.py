"""One run at a time where several machines share a store: a file in the store says who is at work."""

import hashlib
import logging
import os
import tempfile
import uuid
from pathlib import Path
from typing import Any, Self

import fsspec
import psutil
from filelock import FileLock
from fsspec.implementations.local import LocalFileSystem
from pydantic import BaseModel, ConfigDict, ValidationError

from ml_lifecycle import whoami
from ml_lifecycle.errors import HoldError

logger = logging.getLogger(__name__)

#: Seconds within which two starts of a process with the same number are one.
SAME = 0.5


def _machine() -> str:
    """Name, network address and, where containers share both, the space in which process numbers count."""
    space = Path("/proc/self/ns/pid")
    return f"{whoami.machine()}/{uuid.getnode():x}/{space.readlink() if space.is_symlink() else ''}"


def _started(process: psutil.Process) -> float:
    """Seconds from the start of the machine to that of a process: the clock may be set in between."""
    return process.create_time() - psutil.boot_time()


class Hold(BaseModel):
    """Who is at work, where, since when and with which command.

    ``process_started`` is in seconds since the machine's start.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    token: str
    user: str
    machine: str
    process: int
    process_started: float
    since: str
    command: str

    @classmethod
    def of_this_process(cls, command: str) -> Self:
        """Describe this process."""
        return cls(
            token=uuid.uuid4().hex,
            user=whoami.user(),
            machine=_machine(),
            process=os.getpid(),
            process_started=_started(psutil.Process()),
            since=whoami.now(),
            command=command,
        )

    @property
    def is_stale(self) -> bool:
        """Whether it is beyond doubt that nobody is at work: a process of this machine that has ended, or this one."""
        if self.machine != _machine():
            return False
        if self.process == os.getpid():
            return True
        try:
            process = psutil.Process(self.process)
            is_over = process.status() == psutil.STATUS_ZOMBIE  # ended, and its parent has not asked yet
            return is_over or abs(_started(process) - self.process_started) > SAME
        except psutil.NoSuchProcess:
            return True

    @property
    def is_at_work(self) -> bool:
        """Whether it is beyond doubt that somebody is: a process of this machine that lives."""
        return self.machine == _machine() and not self.is_stale

    def __str__(self) -> str:
        """Who, where, since when, doing what."""
        where = self.machine.partition("/")[0]
        return f"{self.user} on {where} (process {self.process}) since {self.since}: `{self.command}`"


class HoldFile:
    """The file in the store; created only if it is not there, which object stores decide for all who ask."""

    def __init__(self, url: str, options: dict[str, Any] | None = None) -> None:
        """Take an address that fsspec knows, and how to open it."""
        self._url = url
        self._fs, self._path = fsspec.core.url_to_fs(url, use_listings_cache=False, **(options or {}))
        is_local = isinstance(self._fs, LocalFileSystem)
        self._container = self._fs._parent(self._path) if is_local else self._path.partition("/")[0]

    def read(self) -> Hold | None:
        """Say who is at work; None if nobody is.

        Raises:
            HoldError: the file is there, but was not written by this project.
        """
        try:
            content = self._fs.cat_file(self._path)
        except FileNotFoundError:
            return None
        try:
            return Hold.model_validate_json(content)
        except ValidationError:
            raise HoldError(
                f"{self._url} says that the store is held, but not by whom: it cannot be read. If nobody is at work, "
                "clear it: `kedro hold clear`, with the --env of the run."
            ) from None

    def acquire(self, command: str) -> Hold:
        """Hold the store for this process.

        Raises:
            HoldError: somebody else holds it.
        """
        self._fs.info(self._container)  # some stores create a missing bucket on writing
        mine = Hold.of_this_process(command)
        with FileLock(self._local_lock()):  # two processes of one machine must not take a stale hold over at once
            held = self.read()
            if held is not None and held.is_stale:
                logger.info("cleared the hold of %s, which has ended", held)
                self._fs.rm_file(self._path)
            elif held is not None:
                raise self._refusal(held)
            self._create(mine)
        return mine

    def _local_lock(self) -> Path:
        name = hashlib.sha256(f"{whoami.user()} {self._url}".encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"ml-lifecycle-{name}.lock"

    def _create(self, mine: Hold) -> None:
        try:
            self._fs.pipe_file(self._path, mine.model_dump_json(indent=2).encode(), mode="create")
        except OSError as error:  # s3fs has no class of its own for "it is there already"
            if self.read() is None:
                raise error from error.__cause__
        held = self.read()
        if held is None or held.token != mine.token:
            raise self._refusal(held)

    def _refusal(self, held: Hold | None) -> HoldError:
        return HoldError(
            f"The store is held by {held or 'somebody else'}. Two runs would mix their data, so nothing was run. Wait "
            "until it has ended; if it died on another machine, clear its hold: `kedro hold clear`, with the --env of "
            "the run."
        )

    def confirm(self, hold: Hold) -> None:
        """See that a process still holds the store.

        Raises:
            HoldError: its hold was cleared.
        """
        held = self.read()
        if held is None or held.token != hold.token:
            raise HoldError(
                f"The hold of this run was cleared while it was at work, and the store is held by {held or 'nobody'}. "
                "It stopped before writing more, so that two runs do not mix their data. Run it again."
            )

    def release(self, hold: Hold) -> None:
        """Give the store back, unless somebody else holds it by now."""
        try:
            held = self.read()
        except HoldError:
            return
        if held is not None and held.token == hold.token:
            self._fs.rm_file(self._path)

    def clear(self, *, by_force: bool = False) -> Hold | None:
        """Remove whatever hold there is; return it if it can be read.

        Raises:
            HoldError: somebody is at work on this machine, and it is not cleared by force.
        """
        try:
            held = self.read()
        except HoldError:
            held = None
        if held is not None and held.is_at_work and not by_force:
            raise HoldError(
                f"The store is held by {held}, and that process is at work. Wait, or end it: `kill {held.process}`. "
                "To clear the hold all the same, `--force`: the run stops before it writes again."
            )
        if self._fs.exists(self._path):
            self._fs.rm_file(self._path)
        return held
