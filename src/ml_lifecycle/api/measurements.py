"""What the service counts, for Prometheus, and how fast it was in the last minutes."""

import os
import time
from bisect import bisect_left
from collections import Counter as Counts
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
#: Folder in which several workers count together; prometheus_client reads the variable as it is imported.
SHARED = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
#: Probabilities are counted in bands of this width.
BANDS = 20
#: What ``latency`` looks back on.
RECENT_SECONDS = 300
RECENT_REQUESTS = 20_000


class Measurements:
    """Counters of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter("requests", "Requests by route and status.", ["route", "status"], **self._as("http"))
        self._seconds = Histogram(
            "request_seconds",
            "From the head of a request to its answer.",
            ["route"],
            buckets=SECONDS,
            **self._as("http"),
        )
        self._rows = Counter(
            "rows",
            "Rows answered, by model version and probability: the lower end of a band 0.05 wide.",
            ["version", "probability"],
            **self._as("prediction"),
        )
        self._rejected = Counter("rejected", "Requests refused, by status.", ["status"], **self._as("http"))
        self._model = Gauge(
            "info",
            "1 for the version that answers, 0 for those that did.",
            ["name", "version", "digest"],
            multiprocess_mode="livemax",
            **self._as("model"),
        )
        self._ready = Gauge("ready", "1 if there is a model.", multiprocess_mode="livemin", **self._as("model"))
        self._reloads = Counter("reloads", "Versions taken into service, counted by each process.", **self._as("model"))
        self._refused = Counter(
            "refused",
            "Versions that did not verify or did not answer, counted by each process.",
            **self._as("model"),
        )
        self._unlogged = Counter(
            "unlogged_rows", "Answers given that the prediction log had no room for.", **self._as("prediction_log")
        )
        self._waiting = Gauge(
            "waiting_bytes",
            "On this disk, on their way to the prediction log.",
            multiprocess_mode="livemax",
            **self._as("prediction_log"),
        )
        self._log_fails = Gauge(
            "failing",
            "1 while answers cannot be moved away.",
            multiprocess_mode="livemax",
            **self._as("prediction_log"),
        )
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT_REQUESTS)
        self._children: dict[Any, Any] = {}
        self._answered: set[tuple[str, str, str]] = set()

    def _as(self, subsystem: str) -> dict[str, Any]:
        return {"namespace": "ml_lifecycle", "subsystem": subsystem, "registry": self.registry}

    def _child(self, metric: Any, *labels: str) -> Any:
        """A metric with its labels, found once: the library looks them up under a lock."""
        key = (metric, labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._child(self._requests, route, str(status)).inc()
        self._child(self._seconds, route).observe(seconds)
        if status >= 400:  # noqa: PLR2004 - HTTP's
            self._child(self._rejected, str(status)).inc()

    def answers(self, version: str, probabilities: Sequence[float], seconds: float) -> None:
        """Count the rows of an answer, and remember how long it took."""
        for band, count in bands(probabilities):
            self._child(self._rows, version, band).inc(count)
        self._recent.append((time.monotonic(), seconds))

    def unlogged(self, rows: int) -> None:
        """Count answers that the prediction log had no room for."""
        self._unlogged.inc(rows)

    def model(self, name: str, version: str, digest: str) -> None:
        """Tell which version answers from now on."""
        for known in self._answered - {(name, version, digest)}:
            self._model.labels(*known).set(0)
        self._answered.add((name, version, digest))
        self._model.labels(name, version, digest).set(1)
        self._ready.set(1)
        self._reloads.inc()

    def refused(self, versions: int) -> None:
        """Count versions that did not verify, or did not answer."""
        self._refused.inc(max(0, versions))  # an attendant that was started again counts from 0

    def log_state(self, waiting_bytes: int, *, failing: bool) -> None:
        """Tell how the prediction log is doing."""
        self._waiting.set(waiting_bytes)
        self._log_fails.set(failing)

    def latency(self) -> dict[str, Any]:
        """How fast this process answered in the last minutes; None where there were no answers.

        Returns:
            ``seconds`` looked back, ``count`` of answers, ``p50_ms`` and ``p99_ms``.
        """
        since = time.monotonic() - RECENT_SECONDS
        known = list(self._recent)
        first = bisect_left(known, (since, 0.0))
        times = sorted(seconds for _, seconds in islice(known, first, None))
        return {
            "seconds": RECENT_SECONDS,
            "count": len(times),
            "p50_ms": 1000 * times[len(times) // 2] if times else None,
            "p99_ms": 1000 * times[len(times) * 99 // 100] if times else None,
        }

    def page(self) -> bytes:
        """All of it in Prometheus' text format; with several workers, of all of them."""
        if SHARED in os.environ:
            together = CollectorRegistry()
            MultiProcessCollector(together)  # type: ignore[no-untyped-call]
            return generate_latest(together)
        return generate_latest(self.registry)


def forget(pid: int | None) -> None:
    """Drop what a process that has ended told of itself; what it counted goes on counting.

    Args:
        pid: of the process; None for one that was never started.
    """
    if pid is not None and SHARED in os.environ:
        mark_process_dead(pid)  # type: ignore[no-untyped-call]


def bands(probabilities: Sequence[float]) -> list[tuple[str, int]]:
    """Count probabilities by the lower end of their band, as text with two digits."""
    if len(probabilities) == 1:
        return [(_NAMES[_band(probabilities[0])], 1)]
    return [(_NAMES[band], count) for band, count in Counts(map(_band, probabilities)).items()]


def _band(probability: float) -> int:
    return min(int(probability * BANDS), BANDS - 1)


_NAMES = [f"{band / BANDS:.2f}" for band in range(BANDS)]
