"""Clients that know nothing of this project: MLflow's command and client, boto3, a browser."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import requests
from mlflow import MlflowClient

from project_copy import MODEL
from servers import Stack, Workplace, plain_environment

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]

PICTURES = ("roc_curve", "precision_recall_curve", "calibration_curve", "importance_chart", "rates_chart")


@pytest.fixture(scope="module")
def client(remote_run: Workplace, stack: Stack) -> MlflowClient:
    """Return MLflow's client after a run."""
    return MlflowClient(stack.tracking_uri)


@pytest.fixture(scope="module")
def training_run(client: MlflowClient) -> str:
    """Return the run of version 1."""
    return str(client.get_model_version(MODEL, "1").run_id)


@pytest.fixture(scope="module")
def keyless(remote_run: Workplace, stack: Stack) -> Workplace:
    """Return a machine that knows the tracking server and no key at all."""
    return Workplace(remote_run.project, {"MLFLOW_TRACKING_URI": stack.tracking_uri})


def test_mlflow_command_reads_runs(keyless: Workplace, training_run: str) -> None:
    """`mlflow runs describe` prints metrics, parameters and tags of the run."""
    run = json.loads(keyless.run("mlflow", "runs", "describe", "--run-id", training_run).stdout)["data"]
    assert "random_forest" == json.loads(run["params"]["model"])["estimator"]
    assert 0.5 < run["metrics"]["judge.roc_auc"] < 1
    assert 40 == len(run["tags"]["git.commit"])


def test_mlflow_command_reads_artifacts(keyless: Workplace, training_run: str) -> None:
    """`mlflow artifacts list` names what the run left, without any key of the object store."""
    listed = json.loads(keyless.run("mlflow", "artifacts", "list", "--run-id", training_run).stdout)
    names = {entry["path"] for entry in listed}
    assert {*(f"{picture}.png" for picture in PICTURES), "model_card.md", "records"} <= names


def test_mlflow_command_reads_models(keyless: Workplace, tmp_path: Path) -> None:
    """`mlflow artifacts download` brings the version in production."""
    uri = f"models:/{MODEL}@production"
    keyless.run("mlflow", "artifacts", "download", "--artifact-uri", uri, "--dst-path", str(tmp_path))
    assert (tmp_path / "model.onnx").stat().st_size > 0
    assert "onnx" in (tmp_path / "MLmodel").read_text(encoding="utf-8")


def test_a_model_predicts_without_this_project(keyless: Workplace, stack: Stack, tmp_path: Path) -> None:
    """MLflow's own loader gives the probabilities that the probe set holds."""
    with stack.store.files().open("ml-data/06_models/probe_set.parquet") as file:
        probe = pd.read_parquet(file)
    probe.to_parquet(tmp_path / "probe.parquet")
    code = f"""
import mlflow, numpy, pandas
probe = pandas.read_parquet({str(tmp_path / "probe.parquet")!r})
model = mlflow.pyfunc.load_model("models:/{MODEL}@production")
answers = model.predict(probe[[column.name for column in model.metadata.get_input_schema().inputs]])
assert numpy.array_equal(answers["probability"], probe["probability"].to_numpy())
print(len(probe))
"""
    assert str(len(probe)) == keyless.run("python", "-c", code).stdout.strip()


@pytest.mark.parametrize(("host", "status"), [("evil.example.org", 403), (None, 200)], ids=["unknown", "its own"])
def test_the_server_answers_to_its_names_only(stack: Stack, host: str | None, status: int) -> None:
    """A page that points its own name at the server, DNS rebinding, gets nothing."""
    address = f"{stack.tracking_uri}/api/2.0/mlflow/experiments/search?max_results=1"
    assert status == requests.get(address, headers={"Host": host} if host else {}, timeout=30).status_code


def test_client_reads_versions(client: MlflowClient) -> None:
    """`MlflowClient` sees the version, complete, with its aliases and its description."""
    version = client.get_model_version(MODEL, "1")
    assert ("READY", ["production", "staging"]) == (version.status, sorted(version.aliases))
    assert version.tags["model_sha256"] in version.description


def test_boto3_reads_the_catalog(remote_run: Workplace, stack: Stack, tmp_path: Path) -> None:
    """Plain boto3, with the keys of the pipelines, lists and reads what the catalog keeps."""
    s3 = stack.client(stack.identities["pipelines"])
    listed = {entry["Key"] for entry in s3.list_objects_v2(Bucket="ml-data")["Contents"]}
    assert {"05_model_input/model_input.parquet", "06_models/model.onnx", "06_models/training_record.json"} <= listed
    s3.download_file("ml-data", "05_model_input/model_input.parquet", str(tmp_path / "model_input.parquet"))
    assert {"train", "choose", "judge"} == set(pd.read_parquet(tmp_path / "model_input.parquet")["row_split"])


@pytest.mark.browser
def test_the_page_shows_the_pictures_of_the_run(
    stack: Stack, training_run: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """In a browser, the run's page draws its ROC curve: an image that has arrived and has a size."""
    from playwright.sync_api import sync_playwright

    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    assert browser_path is not None, "install Chromium: `apt-get install chromium`"
    address = f"{stack.tracking_uri}/#/experiments/1/runs/{training_run}/artifacts/roc_curve.png"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            env=plain_environment(),
        )
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(address)
        picture = page.locator("img[src^='blob:'], img[src*='roc_curve']").first
        picture.wait_for(timeout=60_000)
        page.wait_for_function("image => image.naturalWidth > 300", arg=picture.element_handle())
        close = page.get_by_label("Close")
        if close.count():
            close.first.click()  # a panel beside the page
        photo = (request.config.getoption("--pictures") or tmp_path) / "mlflow-run.png"
        page.screenshot(path=str(photo))
        browser.close()
    assert photo.stat().st_size > 20_000
