"""What was measured, as medians, and what was wanted of it."""

import statistics
from dataclasses import dataclass, field

from benchmarks.load.wrk import Load

ROWS, CONNECTIONS = (1, 100), (1, 4, 64)
HIGHLIGHT = 4  # connections of which the goals speak

OURS, WITH_KEY, NO_OP, PLAIN = "ours", "ours, with an API key", "no-op endpoint", "plain FastAPI + pyfunc"
SPLIT, INPUTS = "mlflow models serve", 'mlflow models serve, {"inputs"}'
LIT, LIT_BATCHING = "LitServe", "LitServe, batching"
#: In the order of the tables.
FORMS = (NO_OP, OURS, WITH_KEY, PLAIN, SPLIT, INPUTS, LIT, LIT_BATCHING)
SESSION, FEATURES_AND_SESSION = "session", "features and session"


@dataclass(frozen=True)
class Case:
    """Who is asked, with how many rows per request and over how many connections."""

    form: str
    rows: int
    connections: int


@dataclass(frozen=True)
class Figures:
    """Medians over the rounds: requests per second, milliseconds, and CPU time per request in microseconds.

    ``cpu`` is that of the process that answers, ``cpu_beside`` that of all others of the service.
    """

    rate: float
    p50: float
    p99: float
    cpu: float
    cpu_beside: float


@dataclass(frozen=True)
class Seen:
    """What one run of wrk saw, and what was computed meanwhile.

    ``answering`` are CPU seconds of the process that answers, ``beside`` those of all others of the service.
    ``elsewhere`` is the share of one core that other processes took.
    """

    load: Load
    answering: float
    beside: float
    elsewhere: float

    @property
    def cpu(self) -> float:
        """Of the process that answers, per request, in microseconds."""
        return self.answering / max(self.load.requests, 1) * 1e6

    @property
    def cpu_beside(self) -> float:
        """Of all others, per request, in microseconds."""
        return self.beside / max(self.load.requests, 1) * 1e6


@dataclass
class Results:
    """All that was measured: loads, seconds, MiB, calls per second without a service, microseconds of each part."""

    seen: dict[Case, list[Seen]] = field(default_factory=dict)
    starts: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, dict[str, float]] = field(default_factory=dict)
    calls: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    profile: dict[int, dict[str, float]] = field(default_factory=dict)

    def add(self, case: Case, seen: Seen) -> None:
        """Keep what one run of wrk saw."""
        self.seen.setdefault(case, []).append(seen)

    def figures(self, case: Case) -> Figures:
        """Medians of a case."""
        seen = self.seen[case]
        return Figures(
            statistics.median(one.load.rate for one in seen),
            statistics.median(one.load.p50 for one in seen),
            statistics.median(one.load.p99 for one in seen),
            statistics.median(one.cpu for one in seen),
            statistics.median(one.cpu_beside for one in seen),
        )

    @property
    def elsewhere(self) -> list[float]:
        """Share of one core that other processes took, for each run of wrk."""
        return [one.elsewhere for seen in self.seen.values() for one in seen]

    def rate(self, form: str, rows: int, connections: int = HIGHLIGHT) -> float | None:
        """Requests per second, if that was measured."""
        case = Case(form, rows, connections)
        return self.figures(case).rate if case in self.seen else None

    def calls_per_second(self, what: str, rows: int) -> float:
        """Of the loop without a service."""
        return statistics.median(self.calls[str(rows)][what])

    @property
    def forms(self) -> list[str]:
        """Who was asked, in the order of the tables."""
        asked = {case.form for case in self.seen}
        return [form for form in FORMS if form in asked]


@dataclass(frozen=True)
class Goal:
    """What is wanted of a figure: at least ``wanted``, or at most."""

    what: str
    got: float | None
    wanted: float
    at_most: bool = False

    @property
    def reached(self) -> bool | None:
        """None where it was not measured."""
        if self.got is None:
            return None
        return self.got <= self.wanted if self.at_most else self.got >= self.wanted


def ratio(one: float | None, other: float | None) -> float | None:
    """One figure by another, where both are there."""
    return None if one is None or other is None else one / other


def goals(results: Results) -> list[Goal]:
    """What was wanted, at 1 and 100 rows per request over 4 connections."""
    ours, hundred = results.rate(OURS, 1), results.rate(OURS, 100)
    lit = max((rate for form in (LIT, LIT_BATCHING) if (rate := results.rate(form, 1)) is not None), default=None)
    where, case = f"1 row, {HIGHLIGHT} connections", Case(OURS, 1, HIGHLIGHT)
    warm = results.starts.get(OURS)
    return [
        Goal(f"{where}: requests/s by those of the no-op endpoint", ratio(ours, results.rate(NO_OP, 1)), 0.75),
        Goal(f"{where}: by those of mlflow models serve, dataframe_split", ratio(ours, results.rate(SPLIT, 1)), 100),
        Goal(f"{where}: by those of LitServe, the faster of both", ratio(ours, lit), 3),
        Goal(f"{where}: p99, ms", results.figures(case).p99 if case in results.seen else None, 5, at_most=True),
        Goal(
            f"100 rows, {HIGHLIGHT} connections: requests/s by calls/s of the bare session",
            ratio(hundred, results.calls_per_second(SESSION, 100)),
            0.8,
        ),
        Goal("start to ready, model in the cache, s", statistics.median(warm) if warm else None, 3, at_most=True),
    ]
