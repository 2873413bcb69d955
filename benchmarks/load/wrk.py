"""Load on a service: wrk posts many different bodies in turn, over connections that stay open."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_suffix(".lua")
#: Seconds after which an answer is given up; some services need more than wrk's own 2 at 64 connections.
TIMEOUT = 60
_LINE = "WRK "


@dataclass(frozen=True)
class Load:
    """What wrk saw.

    ``seconds`` for all requests, ``p50`` and ``p99`` of one in milliseconds. ``failures`` counts answers with a status
    from 400 on as ``refused``, and what went wrong with connections.
    """

    requests: int
    seconds: float
    p50: float
    p99: float
    failures: Mapping[str, int]

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    @property
    def failed(self) -> int:
        """How many requests were not answered as they should."""
        return sum(self.failures.values())


def refuse_missing() -> None:
    """Say what to do where there is no wrk."""
    if shutil.which("wrk") is None:
        raise SystemExit(
            "wrk, which makes the load, is not installed. It comes with the system's packages: `apt-get install wrk` "
            "on Debian and Ubuntu, `brew install wrk` on macOS."
        )


def read(said: str) -> Load:
    """Read what the script prints at the end.

    Raises:
        SystemExit: it is not there.
    """
    lines = [line.removeprefix(_LINE) for line in said.splitlines() if line.startswith(_LINE)]
    if not lines:
        raise SystemExit(f"wrk did not say what it measured. It said:\n{said[-2000:]}")
    found = json.loads(lines[-1])
    seen = {name: found.pop(name) for name in ("requests", "seconds", "p50", "p99")}
    return Load(**seen, failures=found)


def load(url: str, bodies: Path, connections: int, seconds: int, headers: Mapping[str, str]) -> Load:
    """Post the lines of a file as JSON for some seconds.

    Raises:
        SystemExit: wrk failed.
    """
    given = {"Content-Type": "application/json", **headers}
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={TIMEOUT}s", f"--script={SCRIPT}"]
    command += [part for name, value in given.items() for part in ("--header", f"{name}: {value}")]
    done = subprocess.run([*command, url, "--", str(bodies)], check=False, capture_output=True, text=True)
    return read(done.stdout + done.stderr)
