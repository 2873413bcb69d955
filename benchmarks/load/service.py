"""A service on loopback that is started, asked and stopped, and what it takes of the machine."""

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from benchmarks.load.bodies import Rows

HOST = "127.0.0.1"
START_SECONDS, STOP_SECONDS, LOOK_SECONDS = 180, 30, 0.01
#: For what a service started, after the service itself has ended.
LAST_SECONDS = 3
TOLERANCE = 1e-6
MIB = 2**20
#: Where a command takes its port.
PORT = "{port}"


@dataclass(frozen=True)
class Form:
    """A way to ask a service: where, with which body, and where the probabilities stand in the answer."""

    name: str
    path: str
    body: Callable[[Rows, slice], Any]
    probabilities: Callable[[Any], Any] | None


@dataclass(frozen=True)
class Service:
    """How a service is started, when it is ready, and how it is asked."""

    name: str
    command: list[str]
    ready: str
    forms: tuple[Form, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def running(self, folder: Path, project: Path) -> Iterator["Running"]:
        """Start it, wait until it is ready, and stop it.

        Raises:
            SystemExit: it did not get ready.
        """
        port = _free_port()
        log_file = folder / f"{self.name}.log"
        variables = {name: value.replace(PORT, str(port)) for name, value in self.variables.items()}
        start = time.perf_counter()
        with log_file.open("wb") as log:
            process = psutil.Popen(
                [part.replace(PORT, str(port)) for part in self.command],
                cwd=project,
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._wait(process, port, log_file)
            yield Running(self, port, process, log_file, time.perf_counter() - start)
        finally:
            stop(process)

    def _wait(self, process: psutil.Popen, port: int, log_file: Path) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(OSError):  # nobody listens yet, or it answers that it is not ready
                urllib.request.urlopen(f"http://{HOST}:{port}{self.ready}", timeout=10).close()
                return
            time.sleep(LOOK_SECONDS)
        raise SystemExit(f"The service '{self.name}' did not get ready. It said:\n{_end(log_file)}")


@dataclass(frozen=True)
class Running:
    """A service that is ready, ``seconds`` after it was started."""

    service: Service
    port: int
    process: psutil.Popen
    log_file: Path
    seconds: float

    def url(self, form: Form) -> str:
        """Where it is asked."""
        return f"http://{HOST}:{self.port}{form.path}"

    def ask(self, form: Form, body: Any) -> Any:
        """Ask once.

        Raises:
            SystemExit: the status is not 200.
        """
        request = urllib.request.Request(  # noqa: S310 - loopback
            self.url(form),
            json.dumps(body).encode(),
            {"Content-Type": "application/json", **self.service.headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=START_SECONDS) as answer:  # noqa: S310 - loopback
                status, content = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, content = error.code, error.read()
        if status != 200:  # noqa: PLR2004 - the one status of an answer
            raise SystemExit(f"The service '{self.service.name}' answered {status}: {content[:1000]!r}")
        return json.loads(content)

    def check(self, form: Form, rows: Rows, count: int) -> None:
        """See that the service answers what the model says.

        Raises:
            SystemExit: it does not.
        """
        for part in rows.parts(count)[:3]:
            answer = self.ask(form, form.body(rows, part))
            if form.probabilities is None:
                continue
            found: npt.NDArray[Any] = np.array(form.probabilities(answer), dtype=np.float64).ravel()
            if found.shape != (count,) or np.abs(found - rows.probabilities[part]).max() > TOLERANCE:
                raise SystemExit(
                    f"The service '{self.service.name}' answered {found.tolist()[:3]} where the model says "
                    f"{rows.probabilities[part].tolist()[:3]}: they do not do the same work."
                )

    def said(self) -> str:
        """The end of its log, and whether it still runs."""
        status = self.process.poll()
        return f"{_end(self.log_file)}\n({'it still runs' if status is None else f'it ended with status {status}'})"

    def processes(self) -> list[psutil.Process]:
        """It and all that it started."""
        return [self.process, *self.process.children(recursive=True)]

    def cpu_seconds(self) -> dict[int, float]:
        """What each of its processes has computed so far."""
        return {process.pid: _cpu_seconds(process) for process in self.processes()}

    def answering(self, used: Mapping[int, float]) -> int:
        """The process that answers: of those that listen, the one that computed most."""
        listening = [
            process.pid
            for process in self.processes()
            if any(
                one.status == psutil.CONN_LISTEN and one.laddr.port == self.port for one in process.net_connections()
            )
        ]
        if not listening:
            raise SystemExit(f"No process of the service '{self.service.name}' listens on its port {self.port}.")
        return int(max(listening, key=lambda pid: used.get(pid, 0.0)))

    def memory(self) -> dict[str, float]:
        """MiB of each process that are in memory (RSS), under what it was started as."""
        found: dict[str, float] = {}
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                found[f"{process.pid} {_told(process.cmdline())}"] = process.memory_info().rss / MIB
        return found


def stop(process: psutil.Popen) -> None:
    """End a process, and whatever it started and left behind."""
    started: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
        started = process.children(recursive=True)
        process.terminate()
        process.wait(STOP_SECONDS)
    _, left = psutil.wait_procs([process, *started], timeout=LAST_SECONDS)
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(left, timeout=STOP_SECONDS)


def _end(log_file: Path) -> str:
    return log_file.read_text(encoding="utf-8", errors="replace")[-2000:]


def _told(command: list[str]) -> str:
    """What a process is, without the interpreter, its options and long arguments."""
    words = [Path(word).name if "/" in word else word for word in command]
    return " ".join(words)[:60]


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])
