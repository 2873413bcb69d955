"""What the attendant does: it watches the registry and ships the prediction log, until its standard input ends."""

import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from ml_lifecycle import defaults
from ml_lifecycle.api.attendant import Orders
from ml_lifecycle.api.attendant_log import plain, say, take_over, without_secrets
from ml_lifecycle.api.model_cache import LogStatus, ModelCache, Status
from ml_lifecycle.signing.keys import Keys

#: Seconds between two shippings of the prediction log.
SHIP_SECONDS = 1.0
#: Seconds for the last shipping.
LAST_SECONDS = 10.0
#: Of a thread, on Linux: whoever answers requests comes first.
NICENESS = 5
#: A process in a session of its own is a group of its own to Linux, and niceness counts within a group only: sched(7).
AUTOGROUP = Path("/proc/self/autogroup")
#: A registry or a store that is away is asked again at the next look anyway.
IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "AWS_MAX_ATTEMPTS": "2",
}


def be_impatient() -> None:
    """Let no server hold up a look for minutes, unless the user has set how long it may."""
    usual = defaults.read()
    for name, value in IMPATIENT.items():
        if os.environ.get(name) in {None, usual.get(name)}:
            os.environ[name] = value


def _step_back() -> None:
    """Leave the processors to whoever answers requests, and keep enough to ship what they answer."""
    os.nice(NICENESS)
    with contextlib.suppress(OSError):  # not on this kernel
        AUTOGROUP.write_text(str(NICENESS), encoding="ascii")


class Duties:
    """Two threads, and one status of what they find."""

    def __init__(self, orders: Orders) -> None:
        """Nothing happens before ``start``."""
        self._orders = orders
        self._cache = ModelCache(orders.cache, orders.model, orders.alias)
        self._ending = threading.Event()
        self._lock, self._status = threading.Lock(), Status()  # until it goes on from the last attendant's
        self._threads = [
            threading.Thread(target=self._run, args=(duty,), name=name, daemon=True)
            for name, duty in (("registry", self._watch), ("log", self._ship))
        ]

    def start(self) -> None:
        """Begin with both.

        Raises:
            OSError: the disk refuses.
        """
        self._cache.prepare()
        self._status = self._cache.read_status()
        # What is fetched comes to lie on the same disk, and what a kill leaves of it is found at the next start.
        tempfile.tempdir = str(self._cache.incoming)
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Ship what can be shipped in a few seconds."""
        self._ending.set()
        self._threads[-1].join(LAST_SECONDS)

    def _tell(self, **found: object) -> None:
        with self._lock:
            status = self._status.model_copy(update=found)
            if status != self._status:
                self._cache.write_status(status)
                self._status = status

    @staticmethod
    def _run(duty: Callable[[], None]) -> None:
        try:
            duty()
        except BaseException as error:  # noqa: BLE001 - a library that cannot be imported, or a mistake of ours
            say("error", "the attendant fails", error=without_secrets(f"{type(error).__name__}: {error}"))
            os._exit(1)  # with one of two duties it would look well, and nobody would start another

    def _repeat(self, seconds: float, duty: Callable[[], None]) -> None:
        """Do something again and again; what it does not expect is told, and it goes on."""
        told = self._try(duty, None)  # with full speed: perhaps everybody waits for a first model
        _step_back()
        while not self._ending.wait(seconds):
            told = self._try(duty, told)

    @staticmethod
    def _try(duty: Callable[[], None], told: str | None) -> str | None:
        try:
            duty()
        except Exception as error:  # noqa: BLE001 - above all a disk that is full
            text = plain(error)
            if text != told:
                say("error", "the attendant is hindered", error=text)
            return text
        return None

    def _watch(self) -> None:
        from ml_lifecycle.api.registry_watch import RegistryWatch
        from ml_lifecycle.registry import address

        address.use(self._orders.tracking_uri)
        watch = RegistryWatch(self._orders.model, self._orders.alias, Keys(self._orders.keys_folder), self._cache)
        watch.go_on(self._status)

        def look() -> None:
            watch.look()
            refused = () if watch.refused is None else (watch.refused,)
            self._tell(asked_at=watch.asked_at, error=watch.error, refused=refused, refused_total=watch.refused_total)
            self._cache.tidy()

        self._repeat(self._orders.reload_seconds, look)

    def _ship(self) -> None:
        self._repeat(SHIP_SECONDS, self._ship_once)
        self._ship_once()  # what was closed at the very end

    def _ship_once(self) -> None:
        from ml_lifecycle.api import log_shipping

        before = self._status.log
        try:
            shipped = log_shipping.ship(self._orders.log, self._orders.prediction_log)
        except Exception as error:  # noqa: BLE001 - of a store, of a disk
            self._tell(log=before.model_copy(update={"error": plain(error)}))
            return
        self._tell(
            log=LogStatus(
                shipped_rows=before.shipped_rows + shipped.rows,
                damaged=before.damaged + shipped.damaged,
                waiting_bytes=shipped.waiting_bytes,
                error=shipped.error,
            )
        )


def main() -> None:
    """Do it until the standard input ends.

    Raises:
        SystemExit: the first line on it holds no orders, or the disk refuses.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # meant for who started it, and it ends after that
        signal.signal(number, signal.SIG_IGN)
    try:
        orders = Orders.model_validate_json(sys.stdin.buffer.readline())
    except ValidationError:
        raise SystemExit(
            "Error: the standard input holds no orders. The service starts this process itself: `make serve`."
        ) from None
    if orders.lock is not None:
        os.set_inheritable(orders.lock, False)  # its own processes must not hold it longer than it lives
    os.environ["MLFLOW_TRACKING_URI"] = orders.tracking_uri
    if orders.tracking_uri.startswith("sqlite:"):
        # A database that was restored is another file, which a connection that stays open would not notice.
        os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    be_impatient()
    take_over()
    say("info", "attendant started", pid=os.getpid(), model=orders.model, alias=orders.alias)
    duties = Duties(orders)
    try:
        duties.start()
    except OSError as error:
        say("error", "the attendant cannot work", error=plain(error))
        raise SystemExit(1) from None
    while sys.stdin.buffer.read(1024):
        pass
    duties.end()
    say("info", "attendant ended", pid=os.getpid())
    os._exit(0)  # a fetch that is under way is not waited for
