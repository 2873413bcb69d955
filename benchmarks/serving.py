"""What the service reaches: requests per second and latency, against an endpoint that does nothing and other services.

``python -m benchmarks.serving`` loads each with wrk, one after another in each of several rounds, on the same model and
rows, and prints medians: with 1 and 100 rows per request, over 1, 4 and 64 connections. ``--peers`` adds LitServe and
``--profile`` tells where the time goes; both make an environment in build/peers, from the package registry.

The goals are in `benchmarks.load.figures`. It fails if one is missed, if a request failed, or if a service answers what
the model does not say.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.load import report, wrk
from benchmarks.load.figures import CONNECTIONS, HIGHLIGHT, OURS, ROWS, WITH_KEY, Case, Results, Seen, goals
from benchmarks.load.samples import Sampling
from benchmarks.load.service import Form, Running, Service
from benchmarks.load.services import PEERS, ROOT, Subject, find_subject, install, ours, services

#: The rest of their environment comes from the lock, as far as it is there.
LITSERVE, PY_SPY = "litserve==0.2.19", "py-spy==0.4.3"
WARM_SECONDS = 1
#: Share of one core; if other processes take more, a measurement is made again, where that is allowed.
DISTURBED = 0.1


@dataclass(frozen=True)
class Benchmark:
    """One run: where, on what, and how long."""

    folder: Path
    subject: Subject
    seconds: int
    tries: int = 1
    results: Results = field(default_factory=Results)

    def bodies(self, form: Form, rows: int) -> Path:
        """The file of bodies that wrk posts."""
        file = self.folder / f"{form.body.__name__}-{rows}.txt"
        return file if file.exists() else self.subject.rows.write(form.body, rows, file)

    def cases(self, form: Form) -> Iterator[Case]:
        """What is measured of a form: of the service with a key only what it adds."""
        for rows in ROWS:
            for connections in CONNECTIONS if form.name != WITH_KEY else (HIGHLIGHT,):
                yield Case(form.name, rows, connections)

    def load(self, server: Running, form: Form, case: Case, seconds: int) -> Seen:
        """Run wrk once.

        Raises:
            SystemExit: a request failed.
        """
        bodies = self.bodies(form, case.rows)
        before, wrk_before, start = server.cpu_seconds(), _children_seconds(), time.perf_counter()
        idle = psutil.cpu_times().idle
        load = wrk.load(server.url(form), bodies, case.connections, seconds, server.service.headers)
        wall, of_wrk = time.perf_counter() - start, _children_seconds() - wrk_before
        used = {pid: taken - before.get(pid, 0.0) for pid, taken in server.cpu_seconds().items()}
        busy = wall * (psutil.cpu_count() or 1) - (psutil.cpu_times().idle - idle)
        if load.failed:
            raise SystemExit(
                f"{load.failed} requests failed, {load.requests} were answered, with {case}: {dict(load.failures)}. "
                f"The service said:\n{server.said()}"
            )
        answering, whole = used[server.answering(used)], sum(used.values())
        return Seen(load, answering, whole - answering, max(0.0, busy - whole - of_wrk) / wall)

    def load_undisturbed(self, server: Running, form: Form, case: Case) -> Seen:
        """Run wrk until other processes left the machine alone, as often as is allowed; the least disturbed counts."""
        seen = [self.load(server, form, case, self.seconds)]
        while len(seen) < self.tries and seen[-1].elsewhere > DISTURBED:
            seen.append(self.load(server, form, case, self.seconds))
        return min(seen, key=lambda one: one.elsewhere)

    def measure(self, service: Service) -> None:
        """Start a service, ask it in every way, and stop it."""
        with service.running(self.folder, ROOT) as server:
            self.results.starts.setdefault(service.name, []).append(server.seconds)
            for form in service.forms:
                for rows in ROWS:
                    server.check(form, self.subject.rows, rows)
                cases = list(self.cases(form))
                self.load(server, form, Case(form.name, 1, HIGHLIGHT), WARM_SECONDS)
                for case in cases:
                    self.results.add(case, self.load_undisturbed(server, form, case))
            self.results.memory[service.name] = server.memory()

    def measure_session(self) -> None:
        """Call the model in a loop, in a process of its own, on the rows that services are asked with.

        Neighbours in the whole table are alike and take the same ways through the trees, so a call is cheaper there.
        """
        command = [sys.executable, "-m", "benchmarks.serving_peers.session", self.subject.file, self.subject.requests]
        said = subprocess.check_output([*map(str, command), str(self.seconds), *map(str, ROWS)], text=True)
        for rows, found in json.loads(said).items():
            for what, rate in found.items():
                self.results.calls.setdefault(rows, {}).setdefault(what, []).append(rate)

    def profile(self, seconds: int) -> None:
        """Look into the service under load; the time of a request is what it takes when nobody looks."""
        with ours(self.folder).running(self.folder, ROOT) as server:
            (form,) = server.service.forms
            for rows in ROWS:
                case = Case(OURS, rows, HIGHLIGHT)
                self.load(server, form, case, WARM_SECONDS)
                seen = self.load(server, form, case, self.seconds)
                pid = server.answering(server.cpu_seconds())
                sampling = Sampling(PEERS / "bin/py-spy", pid, seconds, self.folder / f"stacks-{rows}.txt")
                self.load(server, form, case, seconds)
                self.results.profile[rows] = {part: share * seen.cpu for part, share in sampling.shares().items()}


def _children_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


def measure(options: argparse.Namespace, folder: Path) -> tuple[Benchmark, float]:
    """Measure everything; return it, and how long the first start took."""
    benchmark = Benchmark(folder, find_subject(folder), options.seconds, options.tries)
    everything = services(benchmark.subject, folder, peers=options.peers)
    if options.only:
        everything = [service for service in everything if service.name in options.only]
    with ours(folder).running(folder, ROOT) as server:
        first = server.seconds
    for number in range(1, options.rounds + 1):
        for service in everything:
            print(f"round {number} of {options.rounds}: {service.name}", file=sys.stderr)
            benchmark.measure(service)
        benchmark.measure_session()
    if options.profile:
        print("profile", file=sys.stderr)
        benchmark.profile(options.profile)
    return benchmark, first


def main() -> None:
    """Measure, print, and fail if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    parser.add_argument("--tries", type=int, default=1, help="of each, while other processes disturb it")
    parser.add_argument("--peers", action="store_true", help="LitServe, too")
    parser.add_argument("--profile", type=int, nargs="?", const=10, default=0, help="seconds of looking into ours")
    parser.add_argument("--only", action="append", help="a service, as the tables name it; may be given again")
    parser.add_argument("--json", type=Path, help="write all figures into this file, too")
    options = parser.parse_args()
    wrk.refuse_missing()
    wanted = [*([LITSERVE, "onnxruntime", "numpy"] if options.peers else []), *([PY_SPY] if options.profile else [])]
    if wanted:
        install(*wanted)
    with tempfile.TemporaryDirectory() as name:
        benchmark, first = measure(options, Path(name))
    results, subject = benchmark.results, benchmark.subject
    found = goals(results)
    report.write(results, subject, first)
    if not options.peers:
        print("\nLitServe was left out: `make bench-serving PEERS=1` installs it into build/peers.")
    report.write_goals(found)
    if options.json:
        told = report.as_json(results, subject, found, first)
        options.json.write_text(json.dumps(told, indent=2), encoding="utf-8")
    if missed := [goal.what for goal in found if goal.reached is False]:
        raise SystemExit(f"{len(missed)} of {len(found)} goals were missed.")


if __name__ == "__main__":
    main()
