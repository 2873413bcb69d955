"""What was measured, as tables for people and as JSON for programs."""

import platform
import statistics
from typing import Any

import psutil

from benchmarks.load.figures import (
    CONNECTIONS,
    FEATURES_AND_SESSION,
    HIGHLIGHT,
    NO_OP,
    ROWS,
    SESSION,
    SPLIT,
    Case,
    Goal,
    Results,
    ratio,
)
from benchmarks.load.services import Subject


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


_HEAD = f"{'requests/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs':>9}{'beside':>8}{'/ no-op':>9}{'/ mlflow':>9}"


def write(results: Results, subject: Subject, first: float) -> None:
    """Print all but the goals; ``first`` is what the first start took, with nothing in the cache."""
    print(f"version {subject.version} of '{subject.name}', {platform.platform()}, Python {platform.python_version()}")
    write_tables(results)
    write_costs(results, first)
    write_profile(results)


def write_tables(results: Results) -> None:
    """Print requests per second, latency and ratios."""
    for rows in ROWS:
        print(f"\n{rows} row{'s' * (rows > 1)} per request")
        for connections in CONNECTIONS:
            head = f"{connections} connection{'s' * (connections > 1)}"
            print(f"  {head:<34}{_HEAD}")
            for form in results.forms:
                case = Case(form, rows, connections)
                if case not in results.seen:
                    continue
                found = results.figures(case)
                against = [ratio(found.rate, results.rate(other, rows, connections)) for other in (NO_OP, SPLIT)]
                print(
                    f"  {form:<34}{found.rate:11,.0f}{found.p50:9.2f}{found.p99:9.2f}"
                    f"{found.cpu:9,.0f}{found.cpu_beside:8,.0f}"
                    f"{_number(against[0], '9.3f')}{_number(against[1], '9.1f')}"
                )
        print("  without a service, one after another")
        for what in (SESSION, FEATURES_AND_SESSION):
            rate = results.calls_per_second(what, rows)
            print(f"  {what:<34}{rate:11,.0f}{1e3 / rate:9.2f}{'':9}{1e6 / rate:9,.0f}")


def write_costs(results: Results, first: float) -> None:
    """Print what starting takes, memory, and what else the machine did."""
    print("\nstart to ready, seconds (median of the rounds)")
    for name, starts in results.starts.items():
        print(f"  {name:<34}{statistics.median(starts):8.2f}   ({', '.join(f'{taken:.2f}' for taken in starts)})")
    print(f"  {'ours, nothing in the cache':<34}{first:8.2f}")
    print("\nmemory after the load, MiB (RSS)")
    for name, processes in results.memory.items():
        for number, (process, size) in enumerate(processes.items()):
            print(f"  {name if number == 0 else '':<34}{size:8.0f}   {process.partition(' ')[2]}")
    elsewhere = results.elsewhere
    print(
        f"\nOther processes took {statistics.median(elsewhere):.0%} of one core meanwhile (median; at most "
        f"{max(elsewhere):.0%}); wrk and the service share the machine's {psutil.cpu_count()}."
    )


def write_profile(results: Results) -> None:
    """Print where the service's time goes."""
    for rows, parts in results.profile.items():
        print(f"\nwhere the time goes, {rows} row{'s' * (rows > 1)} per request, {HIGHLIGHT} connections")
        for part, taken in parts.items():
            print(f"  {part:<34}{taken / sum(parts.values()):8.1%}{taken:9,.1f} µs")


def write_goals(found: list[Goal]) -> None:
    """Print what was wanted and what was got."""
    print("\ngoals")
    for goal in found:
        verdict = {True: "reached", False: "MISSED", None: "not measured"}[goal.reached]
        wanted = f"{'<=' if goal.at_most else '>='} {goal.wanted:g}"
        print(f"  {goal.what:<68}{_number(goal.got, '10.3f'):>10}   {wanted:<8} {verdict}")


def as_json(results: Results, subject: Subject, found: list[Goal], first: float) -> dict[str, Any]:
    """All of it, for programs."""
    loads = [{**vars(case), **vars(results.figures(case))} for case in results.seen]
    return {
        "model": {"name": subject.name, "version": subject.version},
        "machine": {"platform": platform.platform(), "python": platform.python_version(), "cores": psutil.cpu_count()},
        "loads": loads,
        "calls_per_second": {
            rows: {k: statistics.median(v) for k, v in of.items()} for rows, of in results.calls.items()
        },
        "start_seconds": {**results.starts, "ours, nothing in the cache": [first]},
        "memory_mib": results.memory,
        "profile": results.profile,
        "elsewhere": statistics.median(results.elsewhere),
        "goals": [{**vars(goal), "reached": goal.reached} for goal in found],
    }
