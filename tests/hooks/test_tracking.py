"""The origin of a run, as tags on it."""

import os
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import requests
from kedro.io import DataCatalog, MemoryDataset
from mlflow import MlflowClient

from ml_lifecycle.hooks import TrackingHook
from ml_lifecycle.hooks.origin import RAW_INPUTS, RUN_RECORD
from ml_lifecycle.hooks.tracking import close_interrupted
from ml_lifecycle.provenance.record import Environment, GitState, RawInput, RunRecord, raw_input_tags, run_tags
from mlflow_store import own_mlflow

pytestmark = pytest.mark.filterwarnings("default")  # of third parties; test_lifecycle.py tests that a user sees none

ORDERS = RawInput(path="orders.csv", md5="0d3e", size=4)
RECORD = RunRecord(
    started_at="2013-10-01T00:00:00+00:00",
    kedro_environment="base",
    pipelines=["training"],
    git=GitState(commit="c0ffee", dirty=False, diff_sha256="d1ff"),
    environment=Environment(python="3.11.7", platform="Linux", lock_sha256="10c4"),
    parameters={},
    parameters_sha256="9a4a",
)


@pytest.fixture
def catalog() -> DataCatalog:
    """Return what OriginHook has collected."""
    collected = {RAW_INPUTS: {"orders": ORDERS.model_dump()}, RUN_RECORD: RECORD}
    return DataCatalog({name: MemoryDataset(value) for name, value in collected.items()})


@pytest.fixture
def client(tmp_path: Path) -> Iterator[MlflowClient]:
    """Make an MLflow of one's own the current one, with an open run."""
    with own_mlflow(tmp_path) as client:
        yield client


def test_tags_the_run(client: MlflowClient, catalog: DataCatalog) -> None:
    """The open run carries commit, lock, parameters and the hashes of the raw inputs."""
    TrackingHook().before_pipeline_run(catalog=catalog)
    expected = {**run_tags(RECORD), **raw_input_tags({"orders": ORDERS})}
    tags = client.get_run(mlflow.active_run().info.run_id).data.tags
    assert expected == {name: tags[name] for name in expected}


def test_opens_no_run(catalog: DataCatalog) -> None:
    """With tracking switched off, the hook opens no run of its own."""
    TrackingHook().before_pipeline_run(catalog=catalog)
    assert mlflow.active_run() is None


def test_a_continued_run_keeps_its_origin(client: MlflowClient, catalog: DataCatalog) -> None:
    """A run that was tagged when it started keeps those tags, whatever continues it."""
    run_id = mlflow.active_run().info.run_id
    client.set_tag(run_id, "git.commit", "first")
    mlflow.end_run()
    with mlflow.start_run(run_id=run_id):
        TrackingHook().before_pipeline_run(catalog=catalog)
    assert "first" == client.get_run(run_id).data.tags["git.commit"]


def test_a_run_whose_server_is_gone_is_given_up(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a fault of the tracking server no run is open, and closing it was tried once, without patience."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # gone; what follows was opened before
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    hook = TrackingHook()
    hook._was_open = False
    hook.on_pipeline_error(error=requests.ConnectionError("refused"))
    assert mlflow.active_run() is None
    assert ("4", "30") == (os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"], os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"])


def test_other_errors_leave_the_run_to_kedro_mlflow(client: MlflowClient) -> None:
    """A bug in a node is no fault of the server: kedro-mlflow closes the run as failed."""
    hook = TrackingHook()
    hook._was_open = False
    hook.on_pipeline_error(error=ZeroDivisionError("a bug"))
    assert mlflow.active_run() is not None


def test_an_interrupted_run_is_closed_as_killed(client: MlflowClient) -> None:
    """A run that somebody ended is not called finished."""
    run_id = mlflow.active_run().info.run_id
    close_interrupted()
    assert (None, "KILLED") == (mlflow.active_run(), client.get_run(run_id).info.status)
