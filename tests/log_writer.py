"""Entries of the prediction log; and a service that does nothing but log, as a process of its own to be killed.

``python tests/log_writer.py FOLDER SEGMENT_BYTES SECONDS`` appends until it is killed, and prints each id when its
entry is in the log.
"""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ml_lifecycle.api.log_entry import Entry
from ml_lifecycle.api.log_segments import Segments

DAY, NEXT_DAY = "20260401", "20260402"
DIGEST = "ab" * 32
SCORED_AT = 1_775_001_600_000_001  # microseconds: 2026-04-01 00:00:00.000001 UTC
MIB = 2**20


def ids(start: int, rows: int = 1, day: str = DAY) -> list[str]:
    """Request ids, numbered."""
    return [f"{day}-{number:032x}" for number in range(start, start + rows)]


def entry(start: int = 0, rows: int = 1, day: str = DAY, **changes: Any) -> Entry:
    """The answers to records, the first with the number ``start``."""
    numbers = range(start, start + rows)
    fields = {
        "request_ids": ids(start, rows, day),
        "keys": [f"flight {number}" for number in numbers],
        "probabilities": [1 / (number + 3) for number in numbers],
        "decisions": ["late"] * rows,
        "model_name": "flight_delay",
        "model_version": "7",
        "model_digest": DIGEST,
        "threshold": 0.3,
        "scored_at": SCORED_AT + start,
        "protocol": "predict",
        "correlation_id": f"caller-{start}",
        "form": "records",
        "inputs": json.dumps([{"number": number, "carrier": "UA"} for number in numbers]).encode(),
    }
    return Entry(**(fields | changes))


def segments(folder: Path, worker: str = "w", max_bytes: int = 64 * MIB, size: int = MIB, age: float = 0) -> Segments:
    """A log of a MiB per segment."""
    return Segments(folder, worker, max_bytes, size, age)


def start(folder: Path, segment_bytes: int = MIB, seconds: float = 0.02) -> "subprocess.Popen[bytes]":
    """Start the process."""
    command = [sys.executable, __file__, str(folder), str(segment_bytes), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def _append_for_ever(folder: Path, segment_bytes: int, seconds: float) -> None:
    log = Segments(folder, "w", 256 * MIB, segment_bytes, seconds)
    for number in itertools.count():
        added = entry(number)
        log.append(added)
        sys.stdout.write(f"{added.request_ids[0]}\n")
        sys.stdout.flush()
        log.rotate_if_due()


if __name__ == "__main__":
    _append_for_ever(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
