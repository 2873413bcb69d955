"""What provenance, signing and the gate add to ``kedro run``, and what a reproduction costs, on all flights.

``python -m benchmarks.provenance [--repeats 3]`` runs the lifecycle in fresh clones, times the functions that belong
to each, without what they call of another, and then makes the last version again. The goals are: at most 5% of a run,
and at most 1.5 times a run plus the building of the environment.
"""

import argparse
import re
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from benchmarks import profiled
from project_copy import ProjectCopy, environment

SHARE, TIMES = 0.05, 1.5
_LINE = re.compile(r"^PROFILE (?P<part>\w+)\t(?P<seconds>[\d.]+)$", re.MULTILINE)
BUILDING, BUILT = "building the environment", "asking"
#: Times each function for itself: what it calls of another part is that part's.
PROFILER = """
import functools
import time
from kedro.framework.hooks import hook_impl

from ml_lifecycle import model_folder, promotion
from ml_lifecycle.hooks import origin
from ml_lifecycle.pipelines.data_engineering import nodes as data_nodes
from ml_lifecycle.pipelines.serving import nodes as serving_nodes
from ml_lifecycle.pipelines.training import evaluation, packaging
from ml_lifecycle.provenance import raw_inputs, run
from ml_lifecycle.registry import versions
from ml_lifecycle.signing import signature

parts = {
    "provenance": [
        (run, "collect"), (raw_inputs, "verify"), (data_nodes, "digest_of_table"), (packaging, "digest_of_table"),
        (evaluation, "digest_of_labels"), (model_folder.ModelFolder, "describe"),
    ],
    "signing": [(signature, "sign"), (signature, "verify")],
    "gate": [(promotion, "promote_first")],
    "answers": [(serving_nodes.request_id, "of_rows"), (serving_nodes, "log_predictions")],
}
spent, stack = dict.fromkeys(parts, 0.0), []


def timed(part, function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        start = time.perf_counter()
        stack.append(0.0)
        try:
            return function(*args, **kwargs)
        finally:
            whole, inside = time.perf_counter() - start, stack.pop()
            spent[part] += whole - inside
            if stack:
                stack[-1] += whole

    return call


for part, functions in parts.items():
    for owner, name in functions:
        setattr(owner, name, timed(part, getattr(owner, name)))


class Profile:
    @hook_impl
    def before_dataset_saved(self, dataset_name):
        self.start = time.perf_counter()

    @hook_impl
    def after_dataset_saved(self, dataset_name):
        if dataset_name == "prediction_log":
            spent["answers"] += time.perf_counter() - self.start

    @hook_impl(trylast=True)
    def after_pipeline_run(self):
        for part, seconds in spent.items():
            print(f"PROFILE {part}\\t{seconds:.4f}")
"""


def _run(project: ProjectCopy) -> tuple[float, dict[str, float]]:
    start = time.perf_counter()
    said = project.run("kedro", "run").stdout
    return time.perf_counter() - start, {found["part"]: float(found["seconds"]) for found in _LINE.finditer(said)}


def _reproduce(project: ProjectCopy) -> tuple[float, float]:
    """Seconds of a reproduction, and how many of them built the environment."""
    command = ["kedro", "model", "reproduce", "@production"]
    start, steps = time.perf_counter(), {}
    with subprocess.Popen(
        command,
        cwd=project.path,
        env=environment(project.path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stderr or ():
            steps.setdefault(line.split()[0], time.perf_counter())
    if process.returncode:
        raise SystemExit("The version was not made again bit for bit.")
    return time.perf_counter() - start, steps[BUILT] - steps[BUILDING.split(maxsplit=1)[0]]


def main() -> None:
    """Measure, print medians and shares, and fail if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    whole, parts = [], defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        for number in range(repeats):
            project = profiled.clone(Path(name) / f"clone-{number}", PROFILER)
            seconds, found = _run(project)
            whole.append(seconds)
            for part, spent in found.items():
                parts[part].append(spent)
        reproduced, building = _reproduce(project)
    run = statistics.median(whole)
    print(f"{'kedro run':<24}{run:8.1f} s   ({', '.join(f'{seconds:.1f}' for seconds in whole)})")
    for part, spent in parts.items():
        print(f"  {part:<22}{statistics.median(spent):8.2f} s   {statistics.median(spent) / run:6.1%}")
    added = sum(statistics.median(spent) for spent in parts.values())
    print(f"{'added together':<24}{added:8.2f} s   {added / run:6.1%}  allowed {SHARE:.0%}")
    print(f"{'reproduce':<24}{reproduced:8.1f} s   of which {building:.1f} s build the environment")
    ratio = (reproduced - building) / run
    print(f"{'the rest / kedro run':<24}{ratio:8.2f}     allowed {TIMES}")
    if added / run > SHARE or ratio > TIMES:
        raise SystemExit("The goal was missed.")


if __name__ == "__main__":
    main()
