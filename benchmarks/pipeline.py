"""What the machinery costs: ``kedro run`` against a plain script, a no-op ``dvc repro`` against a full run.

``python -m benchmarks.pipeline [--repeats 3]`` works in a fresh clone in a temporary folder and prints
medians. The goals are: kedro run at most 1.15 times the plain script plus 5 seconds; a no-op at most 0.1
of a full run; and the same model, byte for byte, from both.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIMES, PLUS, NO_OP = 1.15, 5.0, 0.1


def _environment(clone: Path) -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(clone / "src")}


def _seconds(command: list[str], clone: Path, environment: Mapping[str, str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, cwd=clone, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - start


def measure(repeats: int) -> dict[str, list[float]]:
    """Time each command ``repeats`` times, taking turns, in one fresh clone."""
    times: dict[str, list[float]] = {"plain script": [], "kedro run": [], "dvc repro, nothing to do": []}
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        environment = _environment(clone)
        _seconds(["dvc", "repro", "raw_data"], clone, environment)
        for _ in range(repeats):
            plain = [sys.executable, "-m", "benchmarks.plain", "data/01_raw", "build/plain"]
            times["plain script"].append(_seconds(plain, clone, environment))
            times["kedro run"].append(_seconds(["kedro", "run"], clone, environment))
            times["dvc repro, nothing to do"].append(_seconds(["dvc", "repro"], clone, environment))
            plain_model, kedro_model = clone / "build/plain/model.onnx", clone / "data/06_models/model.onnx"
            if plain_model.read_bytes() != kedro_model.read_bytes():
                raise SystemExit("The plain script and kedro run made different models: they do not do the same work.")
    return times


def main() -> None:
    """Measure, print medians and ratios, and fail if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    times = measure(parser.parse_args().repeats)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    for name, median in medians.items():
        print(f"{name:<26} {median:7.1f} s   ({', '.join(f'{seconds:.1f}' for seconds in times[name])})")
    plain, kedro, no_op = medians.values()
    allowed = TIMES * plain + PLUS
    print(f"kedro run / plain script   {kedro / plain:7.2f}     allowed {allowed:.1f} s ({TIMES} x plain + {PLUS:g} s)")
    print(f"no-op / kedro run          {no_op / kedro:7.3f}     allowed {NO_OP}")
    if kedro > allowed or no_op > NO_OP * kedro:
        raise SystemExit("A goal was missed.")


if __name__ == "__main__":
    main()
