"""The one process of a service that speaks to the registry and to the prediction log, so that no other has to.

``python -m ml_lifecycle.api.attendant`` takes its `Orders` as one line of JSON on its standard input, and works until
that input ends: whoever started it has ended, or wants it to end.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, Field

from ml_lifecycle.api.model_cache import ModelCache

#: Seconds between two looks whether there is an attendant.
LOOK_SECONDS = 1.0
#: Seconds between two starts of one that keeps ending, at most.
LONGEST_PAUSE = 60.0
#: Seconds after which one counts as having started well.
SETTLED_SECONDS = 30.0
#: Seconds that it may take to end, which is more than it gives its last shipping.
END_SECONDS = 15.0


class Orders(BaseModel):
    """What an attendant is to do; with a line of its own rather than its command line, which everybody can read.

    ``lock`` is the descriptor of the lock it was started with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    alias: str
    tracking_uri: str = Field(repr=False)
    cache: Path
    keys_folder: Path
    prediction_log: str
    reload_seconds: float = 2.0
    lock: int | None = None

    @property
    def log(self) -> Path:
        """The folder with the segments of answers."""
        return self.cache / "log"


class Attendant:
    """Sees in a serving process that a service has one attendant, whichever of its processes starts it.

    The lock of the cache belongs to the attendant itself, so it is free exactly when there is none.
    """

    def __init__(self, orders: Orders, look_seconds: float = LOOK_SECONDS) -> None:
        """Nothing happens before ``start``."""
        self._orders, self._look_seconds = orders, look_seconds
        self._cache = ModelCache(orders.cache)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="attendant", daemon=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._pause, self._started_at = 0.0, 0.0
        self.starts = 0
        self.error: str | None = None

    @property
    def pid(self) -> int | None:
        """Of the attendant, if this process started it."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Begin to see that there is one."""
        self._thread.start()

    def stop(self, seconds: float = END_SECONDS) -> None:
        """Let it end, if this process started it: it ships what is to be shipped. Kill it if that takes longer."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            self._pipe(self._process).close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _supervise(self) -> None:
        waiting = 0.0
        while not self._stopped.wait(waiting):
            try:
                self._look()
                self.error = None
            except OSError as error:  # no process, no descriptor or no room left for now
                self.error = f"The attendant of {self._orders.cache} cannot be started: {error}."
                self._back_off()
            waiting = max(self._pause, self._look_seconds)

    def _look(self) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                if time.monotonic() - self._started_at > SETTLED_SECONDS:
                    self._pause = 0.0
                return
            self._pipe(self._process).close()
            self._process = None
            self._back_off()
            if self._pause > self._look_seconds:
                return
        self._spawn()

    def _back_off(self) -> None:
        self._pause = min(LONGEST_PAUSE, 2 * self._pause or self._look_seconds)

    def _spawn(self) -> None:
        lock = self._try_lock()
        if lock is None:
            return
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", __spec__.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=(lock,),
                start_new_session=True,  # what a terminal tells its processes is not for this one
            )
        finally:
            os.close(lock)  # from here on it is the attendant's alone
        self._process, self._started_at = process, time.monotonic()
        self.starts += 1
        with contextlib.suppress(BrokenPipeError):  # it has ended already, and the next look finds out
            pipe = self._pipe(process)
            pipe.write(self._orders.model_copy(update={"lock": lock}).model_dump_json().encode() + b"\n")
            pipe.flush()

    def _try_lock(self) -> int | None:
        self._orders.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._cache.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return None
            raise
        return descriptor

    @staticmethod
    def _pipe(process: "subprocess.Popen[bytes]") -> IO[bytes]:
        assert process.stdin is not None  # noqa: S101 - it was started with one
        return process.stdin


if __name__ == "__main__":
    from ml_lifecycle.api.duties import main

    main()
