"""What the servers cost: ``kedro run --env minio`` against ``kedro run``, on all flights.

``python -m benchmarks.storage [--repeats 3] [--object-store auto]`` starts an object store and a tracking server on
this machine, works in two fresh clones that take turns, and prints medians and where the difference goes. The goals
are: at most 1.25 times as long, and the same model, byte for byte.
"""

import argparse
import re
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

# The same servers as in the tests, which are no package: E402 is the price.
import servers  # noqa: E402
from benchmarks import profiled  # noqa: E402
from servers import Workplace  # noqa: E402

TIMES = 1.25
COMMANDS = {"base": ("kedro", "run"), "minio": ("kedro", "run", "--env", "minio")}
MODEL = {"base": "data/06_models/model.onnx", "minio": "ml-data/06_models/model.onnx"}
_LINE = re.compile(r"^PROFILE (?P<what>[a-z ]+)\t(?P<name>\S+)\t(?P<seconds>[\d.]+)$", re.MULTILINE)
#: A plug-in for Kedro that times what a run does; loaded by the path of its module.
PROFILER = """
import time
from kedro.framework.hooks import hook_impl

started = {}


def note(what, name):
    print(f"PROFILE {what}\\t{name}\\t{time.perf_counter() - started.pop((what, name)):.4f}")


class Profile:
    @hook_impl(tryfirst=True)
    def before_node_run(self, node):
        started["compute", node.name] = time.perf_counter()

    @hook_impl(trylast=True)
    def after_node_run(self, node):
        note("compute", node.name)

    @hook_impl
    def before_dataset_loaded(self, dataset_name):
        started["load", dataset_name] = time.perf_counter()

    @hook_impl
    def after_dataset_loaded(self, dataset_name):
        note("load", dataset_name)

    @hook_impl
    def before_dataset_saved(self, dataset_name):
        started["save", dataset_name] = time.perf_counter()

    @hook_impl
    def after_dataset_saved(self, dataset_name):
        note("save", dataset_name)
"""


def _run(workplace: Workplace, environment: str) -> tuple[float, dict[str, float]]:
    start = time.perf_counter()
    result = workplace.project.run(*COMMANDS[environment], **workplace.variables)
    seconds = time.perf_counter() - start
    parts: dict[str, float] = defaultdict(float)
    for found in _LINE.finditer(result.stdout):
        kind = found["what"] if found["name"] != "registered_model" else f"{found['what']} registry"
        parts[kind] += float(found["seconds"])
    parts["everything else"] = seconds - sum(parts.values())
    return seconds, parts


def measure(repeats: int, kind: str) -> dict[str, list[tuple[float, dict[str, float]]]]:
    """Time both environments ``repeats`` times, taking turns."""
    taken: dict[str, list[tuple[float, dict[str, float]]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with servers.object_store(kind, folder) as store, servers.stack(store, folder) as stack:
            places = {
                "base": Workplace(profiled.clone(folder / "base", PROFILER), {}),
                "minio": Workplace(profiled.clone(folder / "minio", PROFILER), stack.variables),
            }
            print(f"object store: {store.kind}")
            for _ in range(repeats):
                for environment, workplace in places.items():
                    taken[environment].append(_run(workplace, environment))
            local = (places["base"].project.path / MODEL["base"]).read_bytes()
            if local != store.files().cat_file(MODEL["minio"]):
                raise SystemExit("The two environments made different models.")
    return taken


def main() -> None:
    """Measure, print medians, ratio and parts, and fail if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--object-store", choices=["auto", "minio", "weed"], default="auto")
    options = parser.parse_args()
    taken = measure(options.repeats, options.object_store)
    medians = {name: statistics.median(seconds for seconds, _ in runs) for name, runs in taken.items()}
    for name, runs in taken.items():
        print(f"{name:<18}{medians[name]:8.1f} s   ({', '.join(f'{seconds:.1f}' for seconds, _ in runs)})")
    ratio = medians["minio"] / medians["base"]
    print(f"{'minio / base':<18}{ratio:8.2f}     allowed {TIMES}; the models are equal byte for byte")
    print("where the time goes, medians in seconds")
    parts = {name: {part for _, found in runs for part in found} for name, runs in taken.items()}
    for part in sorted(parts["base"] | parts["minio"]):
        base, minio = (statistics.median(found.get(part, 0.0) for _, found in taken[name]) for name in COMMANDS)
        print(f"  {part:<16}{base:8.1f} base {minio:8.1f} minio {minio - base:+8.1f}")
    if ratio > TIMES:
        raise SystemExit("The goal was missed.")


if __name__ == "__main__":
    main()
