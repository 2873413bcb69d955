"""The service on a model that a run registered: the same numbers as everywhere else, and unmodified clients."""

import json
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tritonclient.http as triton

from ml_lifecycle import features
from ml_lifecycle.onnx_model import OnnxModel
from parity import Ways, differences
from project_copy import MODEL, PROJECT, Lifecycle, ProjectCopy
from servers import HOST
from service import ProjectService, Service, mlflow_serving

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]

ROWS = 10_000
OURS = ["/predict", "/invocations", "/v2", "/predict, one by one"]


@pytest.fixture(scope="module")
def project(lifecycle: Lifecycle, tmp_path_factory: pytest.TempPathFactory) -> ProjectCopy:
    """Return a copy of one's own of the project after its first run."""
    assert lifecycle.result.returncode == 0, lifecycle.result.stderr
    return lifecycle.project.clone(tmp_path_factory.mktemp("serving") / "project")


@pytest.fixture(scope="module")
def service(project: ProjectCopy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run the service as the project is configured, in its environment `test`."""
    service = ProjectService(tmp_path_factory.mktemp("service"), project.path, {"KEDRO_ENV": "test"})
    service.start()
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture(scope="module")
def model(project: ProjectCopy) -> OnnxModel:
    """Return the model that the run made."""
    return OnnxModel((project.results / "06_models/model.onnx").read_bytes())


@pytest.fixture(scope="module")
def mlflow_server(project: ProjectCopy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run MLflow's own server on the same version."""
    with mlflow_serving(tmp_path_factory.mktemp("mlflow"), MODEL, project.tracking_uri) as url:
        yield url


def test_every_way_to_an_answer_gives_the_same_numbers(
    service: Service, mlflow_server: str, project: ProjectCopy, model: OnnxModel
) -> None:
    """Ours to the bit; training by scikit-learn and MLflow's server within 1e-6."""
    ways = Ways(project.results, model, MODEL, service.url, mlflow_server, ROWS)
    found = ways.all()
    assert len(found["batch"]) > 1_000
    assert dict.fromkeys(OURS, 0) == differences(found, OURS)
    for way in ("training", "mlflow models serve"):
        assert np.abs(found[way] - found["batch"]).max() <= 1e-6, way


def test_a_row_that_differs_is_seen() -> None:
    """What the comparison above is made with can fail."""
    batch = np.array([0.25, 0.5], dtype=np.float32)
    other = np.nextafter(batch, np.float32(1))
    assert {"x": 2, "y": 0} == differences({"batch": batch, "x": other, "y": batch}, ["x", "y"])


def test_mlflows_own_client_is_answered(service: Service, project: ProjectCopy, model: OnnxModel) -> None:
    """The client of `mlflow models serve`, with a table that has gaps."""
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient  # it warns as it is imported

    client = ScoringServerClient(HOST, service.port)
    client.wait_server_ready(timeout=10, scoring_server_proc=_running(service))
    assert client.get_version() == re.search(r"^mlflow==(\S+)", _lock(project), re.MULTILINE)[1]  # type: ignore[index]
    ways = Ways(project.results, model, MODEL, service.url, service.url, 50)
    asked = ways.requests
    columns = {name: asked[name].to_numpy() for name in asked.columns}
    computed = features.compute(model.roles.feature_set, columns, model.roles.numeric, model.roles.categorical)
    table = asked[[]].assign(**computed)
    assert table.isna().any().any()
    found = client.invoke(table).get_predictions()["probability"]
    assert model.predict(computed).tolist() == list(found)


def _running(service: Service) -> "subprocess.Popen[bytes]":
    assert service.server is not None
    assert service.server.process is not None
    return service.server.process


def _lock(project: ProjectCopy) -> str:
    return (project.path / "requirements/run.txt").read_text(encoding="utf-8")


README_CURLS = re.findall(r"^curl .*/predict .*$", (PROJECT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("number", range(2))
def test_the_commands_of_the_readme_are_answered(service: Service, number: int) -> None:
    """As they stand there, but for the port, with and without a key: with curl, or what curl would send."""
    assert len(README_CURLS) == 2
    command = README_CURLS[number]
    arguments = shlex.split(command.replace("http://127.0.0.1:8000", service.url))
    if shutil.which("curl"):
        told = subprocess.check_output(arguments, cwd=PROJECT)
    else:
        (file,) = [argument[1:] for argument in arguments if argument.startswith("@")]
        told = service.post("/predict", (PROJECT / file).read_bytes()).body
    assert json.loads(told)["model"]["name"] == MODEL


def test_an_open_inference_client_is_answered(service: Service, project: ProjectCopy, model: OnnxModel) -> None:
    """Triton's, as it comes, with binary tensors."""
    asked = Ways(project.results, model, MODEL, service.url, service.url, 50).requests
    columns = {name: asked[name].to_numpy() for name in asked.columns}
    computed = features.compute(model.roles.feature_set, columns, model.roles.numeric, model.roles.categorical)
    client = triton.InferenceServerClient(f"{HOST}:{service.port}")
    inputs = []
    for tensor in client.get_model_metadata(MODEL)["inputs"]:
        values = computed[tensor["name"]]
        inputs.append(triton.InferInput(tensor["name"], [len(values)], tensor["datatype"]))
        inputs[-1].set_data_from_numpy(values)
    found = client.infer(MODEL, inputs).as_numpy("probability")
    client.close()
    assert model.predict(computed).tolist() == found.tolist()


def _ids(part: Path) -> set[str]:
    """The requests that a part of the log is about."""
    return set(pd.read_parquet(part, columns=["request_id"])["request_id"])


def test_an_answer_is_traced_to_what_made_it(service: Service, project: ProjectCopy) -> None:
    """`kedro model trace` finds the answer, the inputs it was given for, and the version."""
    example = service.get("/model").json["request"]["example"]
    answer = service.post("/predict", {**example, "flight_key": "traced"}).json
    folder = project.results / "07_model_output/prediction_log"
    deadline = time.monotonic() + 30
    while not any(answer["request_id"] in _ids(path) for path in folder.rglob("w*.parquet")):
        assert time.monotonic() < deadline, "the answer was not moved to the log"
        time.sleep(0.2)
    result = project.run("kedro", "model", "trace", answer["request_id"], "--env", "test", "--json")
    found = json.loads(result.stdout)
    assert found["prediction"]["request_key"] == "traced"
    assert found["prediction"]["probability"] == answer["probability"]
    assert found["prediction"]["inputs"]["distance"] == example["distance"]
    assert found["digest"] == answer["model"]["digest"]


def test_the_model_is_described_by_its_own_record(service: Service, project: ProjectCopy, model: OnnxModel) -> None:
    """GET /model tells what the version's record tells."""
    told = service.confirmed("/model")
    assert (told["name"], told["version"], told["digest"]) == (MODEL, "1", model.digest)
    commit = project.run("git", "rev-parse", "HEAD").stdout.strip()
    assert told["record"]["commit"] == commit
    assert set(told["record"]["data"]) == {"flights", "weather", "planes", "airports", "airlines"}
    assert 0.5 < told["metrics"]["roc_auc"]["value"] < 1
    assert told["card"].startswith("# ")
    assert service.get("/openapi.json").json["paths"]["/predict"]["post"]["requestBody"]
    assert service.post("/predict", told["request"]["example"]).status == 200


def test_the_serving_process_has_nothing_that_it_does_not_need(service: Service) -> None:
    """No MLflow, Kedro, scikit-learn or pandas: told by the files that the process has mapped, with what it is for."""
    mapped = Path(f"/proc/{service.pid}/maps").read_text(encoding="utf-8")
    loaded = set(re.findall(r"site-packages/([A-Za-z0-9_]+)", mapped))
    assert {"onnxruntime", "numpy"} <= loaded
    assert not loaded & {"pandas", "sklearn", "scipy", "pyarrow", "onnx"}


def test_it_is_ready_soon_from_its_cache(service: Service) -> None:
    """Within the time that is promised, several times over for a busy machine; benchmarks/serving.py measures it."""
    service.stop()
    started = time.monotonic()
    service.start()
    assert time.monotonic() - started < 15
    assert os.getpgid(service.pid) == service.pid
