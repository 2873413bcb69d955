"""Where a service's time goes: py-spy's samples of its stacks, added up by the part of the service they are in."""

import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

RATE = 250
REST = "rest"
#: Innermost frames of threads that have nothing to do, which py-spy does not always tell from others.
WAITING = re.compile(r"\S*\b(?:_worker|wait|get|select|poll) \(.*/(?:threading|thread|queue|selectors)\.py:\d+\)")
#: What the innermost frame alone says: compiled code and system calls below it.
INNERMOST = (
    ("event loop, reading sockets", re.compile(r"\S*\brun \(.*asyncio/runners\.py:\d+\)")),
    ("writing sockets", re.compile(r"\S*\bsend \(.*uvicorn/protocols/\S+:\d+\)")),
    ("writing sockets", re.compile(r"\S*\bwrite \(.*api/joined_transport\.py:\d+\)")),
)
#: By what stands in a frame, from the innermost frame outwards; the first that fits says whose time it is.
PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("session", ("onnxruntime/", "/onnx_model.py")),
    ("features", ("ml_lifecycle/features.py",)),
    ("decoding", ("api/records.py", "api/tensors.py")),
    ("batching", ("api/batcher.py",)),
    ("answer", ("api/answer.py", "api/scoring.py", "api/predict.py", "api/served_model.py", "/request_id.py")),
    ("prediction log", ("api/log_entry.py", "api/log_segments.py")),
    ("access log", ("api/json_log.py", "logging/__init__.py")),
    ("counting", ("api/measurements.py", "prometheus_client/")),
    ("reading the body", ("api/body.py",)),
    ("our middleware", ("api/guard.py", "api/authentication.py", "api/call.py")),
    ("uvicorn", ("uvicorn/", "api/connection.py")),
    ("handing over to threads", ("asyncio/futures.py", "concurrent/futures/_base.py")),
    ("routing", ("starlette/", "fastapi/")),
    ("our other duties", ("ml_lifecycle/",)),
)


def part_of(frames: Iterable[str]) -> str:
    """Tell whose time it is.

    Args:
        frames: of one stack, as py-spy names them, outermost first.
    """
    inwards = list(frames)
    for part, pattern in INNERMOST:
        if pattern.fullmatch(inwards[-1]):
            return part
    for frame in reversed(inwards):
        for part, places in PARTS:
            if any(place in frame for place in places):
                return part
    return REST


def shares(raw: str) -> dict[str, float]:
    """Add up samples in py-spy's raw form: a stack with semicolons between frames, a space, how often it was seen.

    Returns:
        The share of each part that was seen, the largest first.
    """
    seen: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if not WAITING.fullmatch(frames[-1]):
            seen[part_of(frames)] += int(count)
    whole = sum(seen.values())
    return {part: count / whole for part, count in seen.most_common()}


class Sampling:
    """py-spy at work on a process."""

    def __init__(self, py_spy: Path, pid: int, seconds: float, file: Path) -> None:
        """Begin; idle threads are not counted."""
        self._file = file
        self._process = subprocess.Popen(
            [
                *(str(py_spy), "record", "--pid", str(pid), "--duration", f"{seconds:.0f}", "--rate", str(RATE)),
                *("--format", "raw", "--full-filenames", "--output", str(file)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def shares(self) -> dict[str, float]:
        """Wait for the end, and add up.

        Raises:
            SystemExit: py-spy failed, for lack of rights for example.
        """
        said, _ = self._process.communicate()
        if self._process.returncode:
            raise SystemExit(f"py-spy could not look into the service. It said:\n{said[-2000:]}")
        return shares(self._file.read_text(encoding="utf-8"))
