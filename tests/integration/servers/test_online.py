"""The service on the servers: registry on the tracking server, log in the object store, keys that may do no more."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from project_copy import MODEL
from servers import Stack, Workplace
from service import ProjectService

pytestmark = [pytest.mark.integration, pytest.mark.any_store, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def service(remote_run: Workplace, stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectService]:
    """Run the service as the environment `minio` says, with the identity `serving`."""
    folder: Path = tmp_path_factory.mktemp("online")
    cache = {"KEDRO_ENV": "minio", "API_CACHE": str(folder / "cache")}
    service = ProjectService(folder, remote_run.project.path, stack.reading("serving") | cache)
    service.start()
    yield service
    service.stop()


def test_the_version_of_the_tracking_server_answers(service: ProjectService) -> None:
    """Fetched over HTTP, verified with the team's key."""
    ready = service.confirmed("/ready")
    assert (ready["ready"], ready["model"]["name"]) == (True, MODEL)
    assert service.post("/predict", service.get("/model").json["request"]["example"]).status == 200


def test_an_answer_in_the_object_store_is_traced(service: ProjectService, remote_run: Workplace) -> None:
    """Added with keys that may only add, and found by somebody who may read."""
    example = service.get("/model").json["request"]["example"]
    answer = service.post("/predict", [{**example, "flight_key": f"online-{number}"} for number in range(3)]).json
    deadline = time.monotonic() + 60
    while service.get("/ready").json["prediction_log"]["shipped_rows"] < 3:
        assert time.monotonic() < deadline, service.get("/ready").json["prediction_log"]
        time.sleep(0.2)
    request_id = answer["predictions"][1]["request_id"]
    result = remote_run.run("kedro", "model", "trace", request_id, "--env", "minio", "--json")
    found = json.loads(result.stdout)
    assert found["prediction"]["request_key"] == "online-1"
    assert found["digest"] == answer["model"]["digest"]
    assert service.get("/ready").json["prediction_log"]["error"] is None


def test_no_secret_is_told(service: ProjectService, stack: Stack) -> None:
    """Neither in its log nor on any page."""
    told = service.log_file.read_text(encoding="utf-8")
    told += "".join(service.get(path).body.decode() for path in ("/", "/ready", "/metrics", "/model", "/openapi.json"))
    assert "a model answers" in told
    assert not [secret for secret in stack.secrets if secret in told]
