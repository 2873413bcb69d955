"""Each container is killed under a light load; the stack comes back by itself."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from compose import Compose

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("default")]


@dataclass
class Load:
    """Asks for a prediction ten times a second, and keeps what it got and when."""

    compose: Compose
    example: dict[str, Any]
    answered: list[str] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Ask until told to stop."""
        while not self.stop.wait(0.1):
            try:
                answer = self.compose.ask("/predict", self.example)
            except OSError:
                self.failed.append(time.monotonic())
                continue
            if answer.status == 200:
                self.answered.append(answer.json["request_id"])
            else:
                self.failed.append(time.monotonic())


@pytest.fixture
def load(compose: Compose, served: dict[str, Any]) -> Iterator[Load]:
    """Keep asking."""
    load = Load(compose, served["request"]["example"])
    thread = threading.Thread(target=load.run)
    thread.start()
    yield load
    load.stop.set()
    thread.join()


def healthy(compose: Compose, service: str, other_than: int) -> bool:
    """Whether the container of a service runs again, as another process, and is well."""
    (told,) = json.loads(compose.docker("inspect", compose.container(service)))
    state = told["State"]
    return state["Pid"] not in (0, other_than) and state["Health"]["Status"] == "healthy"


@pytest.mark.parametrize("service", ["minio", "postgres", "mlflow", "api"])
def test_comes_back(compose: Compose, served: dict[str, Any], load: Load, service: str) -> None:
    """Nothing is lost; only without the service itself are there failures, and only while it is away."""
    before = json.loads(compose.kedro("model", "list", "--env", "minio", "--json").stdout)["versions"]
    (told,) = json.loads(compose.docker("inspect", compose.container(service)))
    killed = time.monotonic()
    compose.kill(told["State"]["Pid"])
    while not healthy(compose, service, told["State"]["Pid"]):
        assert time.monotonic() < killed + 300
        time.sleep(0.5)
    back = time.monotonic()
    time.sleep(3)  # callers go on asking: what fails now, with all well again, is a failure
    load.stop.set()
    assert len(load.answered) > 10
    assert not [moment for moment in load.failed if service != "api" or moment > back + 1]

    assert before == json.loads(compose.kedro("model", "list", "--env", "minio", "--json").stdout)["versions"]
    assert served["digest"] == compose.ask("/model").json["digest"]
    for request_id in (load.answered[0], load.answered[-1]):
        assert request_id == compose.trace(request_id)["prediction"]["request_id"]
    assert not Counter(load.answered) - Counter(compose.logged())
    run = compose.kedro("run", "--env", "minio", "--pipelines", "serving")
    assert "Predictions" in run.stdout + run.stderr
