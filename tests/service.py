"""The service as its users run it: a process on loopback, with a cache that tests fill or a registry they own."""

import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import coverage

import candidates
from ml_lifecycle.api.model_cache import Current, ModelCache, VersionFacts
from ml_lifecycle.model_folder import MODEL, ModelFolder
from ml_lifecycle.model_version import Candidate
from ml_lifecycle.signing.keys import Keys
from servers import HOST, PROJECT, Server, answers, free_port, plain_environment

ALIAS = "production"
SECONDS = 30
#: A registry that is not there: what is in the cache serves.
NO_REGISTRY = "http://127.0.0.1:9"


def place(
    cache: Path, keys: Keys, made: Candidate | None = None, version: str = "1", name: str = candidates.NAME
) -> Current:
    """Put a model into a cache, as the attendant does with one that it fetched."""
    made = made or candidates.candidate()
    folder = ModelFolder(cache.parent / f"fetched-{version}")
    shutil.rmtree(folder.path, ignore_errors=True)
    folder.path.mkdir(parents=True)
    (folder.path / MODEL).write_bytes(made.model.content)
    folder.describe(made, name)
    folder.sign(keys)
    facts = VersionFacts(
        name=name,
        version=version,
        digest=made.model.digest,
        alias=ALIAS,
        run_id="r",
        created=datetime(2013, 10, 1, tzinfo=UTC),
        aliases=(ALIAS,),
    )
    return ModelCache(cache).place(facts, folder.path)


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Service:
    """One service; ``extra`` are settings that differ from those for tests."""

    folder: Path
    keys: Keys
    model: str = candidates.NAME
    tracking_uri: str = NO_REGISTRY
    extra: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    server: Server | None = None

    @property
    def cache(self) -> Path:
        """Its folder."""
        return self.folder / "cache"

    @property
    def log_folder(self) -> Path:
        """Where its answers end."""
        return self.folder / "prediction_log"

    @property
    def log_file(self) -> Path:
        """What it tells."""
        return self.folder / "service.log"

    @property
    def started_in(self) -> Path:
        """The folder that it is started in."""
        return self.folder

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What it is set by."""
        return {
            **plain_environment(),
            **_measured(),
            "API_MODEL": self.model,
            "API_ALIAS": ALIAS,
            "API_TRACKING_URI": self.tracking_uri,
            "API_PORT": str(self.port),
            "API_CACHE": str(self.cache),
            "API_KEYS_FOLDER": str(self.keys.folder),
            "API_PREDICTION_LOG": str(self.log_folder),
            "API_AUTHENTICATION": "off",
            "API_RELOAD_SECONDS": "0.5",
            "API_LOG_SECONDS": "1",
            **self.extra,
        }

    def start(self, *, until_ready: bool = True) -> None:
        """Start, and wait until it answers, or until it has a model."""
        path = "/ready" if until_ready else "/health"
        command = [sys.executable, "-m", "ml_lifecycle.api"]
        self.server = Server(command, self.environment, self.log_file, lambda: self._is(path), folder=self.started_in)
        self.server.start()

    def _is(self, path: str) -> bool:
        try:
            return self.get(path).status == 200
        except OSError:
            return False

    @property
    def pid(self) -> int:
        """Of its first process."""
        assert self.server is not None
        assert self.server.process is not None
        return self.server.process.pid

    def stop(self) -> None:
        """Ask it to end, and see that it does."""
        if self.server is not None:
            self.server.stop()

    def kill(self) -> None:
        """End it at once; its attendant is in a session of its own, and goes on for a moment."""
        os.kill(self.pid, 9)
        assert self.server is not None
        assert self.server.process is not None
        self.server.process.wait()

    def log_lines(self) -> list[dict[str, Any]]:
        """What it told."""
        text = self.log_file.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def get(self, path: str, **headers: str) -> Answer:
        """Ask for something."""
        return self._ask(urllib.request.Request(f"{self.url}{path}", headers=_named(headers)))

    def confirmed(self, path: str) -> dict[str, Any]:
        """What /ready or /model tells as soon as the registry stands behind it: a model may answer a moment earlier."""
        deadline = time.monotonic() + SECONDS
        while (told := self.get(path).json)["source"] != "registry":
            assert time.monotonic() < deadline, told
            time.sleep(0.05)  # between two questions
        return dict(told)

    def post(self, path: str, content: Any, **headers: str) -> Answer:
        """Send something, as JSON unless it is bytes already."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        given = {"Content-Type": "application/json", **_named(headers)}
        return self._ask(urllib.request.Request(f"{self.url}{path}", body, given))

    def _ask(self, request: urllib.request.Request) -> Answer:
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return Answer(answer.status, _lower(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, _lower(error.headers), error.read())


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _measured() -> dict[str, str]:
    """What has the processes of a service measure coverage, if this one does."""
    if coverage.Coverage.current() is None:
        return {}
    return {"COVERAGE_PROCESS_START": str(PROJECT / "pyproject.toml"), "COVERAGE_FILE": str(PROJECT / ".coverage")}


class ProjectService(Service):
    """A service that is started in the project's folder, where its configuration is found."""

    def __init__(self, folder: Path, project: Path, extra: dict[str, str]) -> None:
        super().__init__(folder, Keys(project / ".keys"), extra=extra)
        self.project = project

    @property
    def environment(self) -> dict[str, str]:
        """Only what is no default."""
        return {
            **plain_environment(),
            "PYTHONPATH": str(self.project / "src"),
            "API_PORT": str(self.port),
            "API_AUTHENTICATION": "off",
            "API_LOG_SECONDS": "0.5",
            **self.extra,
        }

    @property
    def started_in(self) -> Path:
        """The project's folder."""
        return self.project


@contextmanager
def mlflow_serving(folder: Path, model: str, tracking_uri: str) -> Iterator[str]:
    """Run MLflow's own server on the version in production."""
    port = free_port()
    command = ["mlflow", "models", "serve", "-m", f"models:/{model}@{ALIAS}", "--env-manager", "local"]
    environment = {**plain_environment(), "MLFLOW_TRACKING_URI": tracking_uri}
    url = f"http://{HOST}:{port}"
    where = ["--host", HOST, "--port", str(port)]
    server = Server([*command, *where], environment, folder / "mlflow.log", lambda: answers(f"{url}/ping"))
    server.start()
    try:
        yield url
    finally:
        server.stop()


@contextmanager
def running(folder: Path, made: Candidate | None = None, **extra: str) -> Iterator[Service]:
    """Run a service with a model in its cache, and no registry."""
    service = Service(folder, candidates.keys(folder), extra=extra)
    place(service.cache, service.keys, made)
    service.start()
    try:
        yield service
    finally:
        service.stop()
