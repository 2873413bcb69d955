"""The same commit, data and parameters, on files and on servers: the same model and the same record."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion

from ml_lifecycle.provenance import statement
from ml_lifecycle.provenance.record import Provenance
from project_copy import MODEL, ProjectCopy
from servers import Stack, Workplace

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]

OWN_FIELDS = {"started_at", "kedro_environment"}
OWN_TAGS = ("kedro.environment",)
BUCKET = "ml-data"


@pytest.fixture(scope="module")
def local_version(local_run: ProjectCopy) -> ModelVersion:
    """Return the version registered on files."""
    return MlflowClient(f"sqlite:///{local_run.path / 'mlflow.db'}").get_model_version_by_alias(MODEL, "production")


@pytest.fixture(scope="module")
def remote_version(remote_run: Workplace, stack: Stack) -> ModelVersion:
    """Return the version registered on the servers."""
    return MlflowClient(stack.tracking_uri).get_model_version(MODEL, "1")


def provenance(version: ModelVersion, tracking_uri: str) -> Provenance:
    """Read the record of a version."""
    stored = MlflowClient(tracking_uri).get_logged_model(version.source.removeprefix("models:/"))
    uri = f"{stored.artifact_location}/provenance.json"
    return statement.read(Path(download_artifacts(uri, tracking_uri=tracking_uri)).read_bytes())


def without_own_fields(record: Provenance) -> dict[str, Any]:
    """Drop what tells one environment from another."""
    runs = [run.model_dump(exclude=OWN_FIELDS) for run in record.runs]
    return {**record.model_dump(exclude={"run": True, "data": {"run"}}), "runs": runs}


def test_the_model_is_byte_equal(local_run: ProjectCopy, remote_run: Workplace, stack: Stack) -> None:
    """The ONNX file in the object store is the one on disk."""
    local = (local_run.path / "data/06_models/model.onnx").read_bytes()
    assert local == stack.store.files().cat_file(f"{BUCKET}/06_models/model.onnx")


def test_the_registered_file_is_the_same(
    local_version: ModelVersion, remote_version: ModelVersion, remote_run: Workplace, tmp_path: Path
) -> None:
    """Behind the tracking server lies the same file, and its digest is the one recorded in both registries."""
    uri = f"models:/{MODEL}/1"
    remote_run.run("mlflow", "artifacts", "download", "--artifact-uri", uri, "--dst-path", str(tmp_path))
    digest = hashlib.sha256((tmp_path / "model.onnx").read_bytes()).hexdigest()
    assert digest == local_version.tags["model_sha256"] == remote_version.tags["model_sha256"]


def test_the_answers_to_the_probe_are_equal(local_run: ProjectCopy, remote_run: Workplace, stack: Stack) -> None:
    """Both models give the same answers to the same probe set, to the last bit."""
    local = pd.read_parquet(local_run.path / "data/06_models/probe_set.parquet")
    with stack.store.files().open(f"{BUCKET}/06_models/probe_set.parquet") as file:
        remote = pd.read_parquet(file)
    pd.testing.assert_frame_equal(local, remote, check_exact=True)


def test_the_records_are_equal(
    local_version: ModelVersion, remote_version: ModelVersion, local_run: ProjectCopy, stack: Stack
) -> None:
    """The records differ in the time of the run and the name of the environment, and in nothing else."""
    local = provenance(local_version, f"sqlite:///{local_run.path / 'mlflow.db'}")
    remote = provenance(remote_version, stack.tracking_uri)
    assert without_own_fields(local) == without_own_fields(remote)
    assert ("base", "minio") == (local.run.kedro_environment, remote.run.kedro_environment)


def test_the_tags_are_equal(local_version: ModelVersion, remote_version: ModelVersion) -> None:
    """The versions carry the same tags, but for the environment's name."""
    shared = [
        {name: value for name, value in version.tags.items() if name not in OWN_TAGS}
        for version in (local_version, remote_version)
    ]
    assert shared[0] == shared[1]


def test_the_predictions_are_equal(local_run: ProjectCopy, remote_run: Workplace, stack: Stack) -> None:
    """Every request gets the same probability from the same version and digest."""
    local = pd.read_parquet(local_run.path / "data/07_model_output/predictions.parquet")
    with stack.store.files().open(f"{BUCKET}/07_model_output/predictions.parquet") as file:
        remote = pd.read_parquet(file)
    own = ["request_id", "scored_at"]
    pd.testing.assert_frame_equal(local.drop(columns=own), remote.drop(columns=own), check_exact=True)


def without_time(name: str) -> str:
    """The folder of a file that is named after the time of its run."""
    return name.partition("/date=")[0]


def test_everything_lies_in_the_store(local_run: ProjectCopy, remote_run: Workplace, stack: Stack) -> None:
    """What a local run keeps in data/ lies in the bucket, under the same names; nothing else was written to data/."""
    kept = {"01_raw", "08_reporting"}
    local = {
        without_time(file.relative_to(local_run.path / "data").as_posix())
        for file in (local_run.path / "data").rglob("*")
        if file.is_file() and file.name != ".gitkeep" and file.relative_to(local_run.path / "data").parts[0] not in kept
    }
    history = {f"registry/{MODEL}/{alias}/000001.json" for alias in ("staging", "production")}
    remote = {without_time(name.removeprefix(f"{BUCKET}/")) for name in stack.store.files().find(BUCKET)}
    assert {*local, *history, "ledger.json"} == {name for name in remote if not name.startswith("08_reporting")}
    data = remote_run.project.path / "data"
    written = [file for file in data.rglob("*") if file.is_file() and file.name != ".gitkeep"]
    assert {"01_raw"} == {file.relative_to(data).parts[0] for file in written}


def test_the_reports_are_equal(local_run: ProjectCopy, remote_run: Workplace, stack: Stack) -> None:
    """Reports in the store, and pictures that MLflow uploaded, are those of the local run, byte for byte."""
    reporting = local_run.path / "data/08_reporting"
    files = stack.store.files()
    remote = {name.rpartition("/")[2]: files.cat_file(name) for name in files.find(f"{BUCKET}/08_reporting")}
    uploaded = remote_run.project.path / "build/minio/08_reporting"
    remote |= {file.name: file.read_bytes() for file in uploaded.iterdir()}
    assert {file.name: file.read_bytes() for file in reporting.iterdir() if file.name != ".gitkeep"} == remote


@pytest.mark.parametrize("missing", ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "MLFLOW_TRACKING_URI"])
def test_a_missing_variable_is_named(missing: str, person: Callable[[Stack], Workplace], stack: Stack) -> None:
    """Without one of the variables nothing runs, and one line names it."""
    workplace = person(stack)
    result = workplace.run("kedro", "run", "--env", "minio", check=False, **{missing: ""})
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert 1 == result.returncode
    assert f"The environment 'minio' needs {missing}, not set in this shell. Nothing was run." in line
    assert "Running node" not in result.stderr


def test_the_environment_is_three_small_files(local_run: ProjectCopy) -> None:
    """The configuration is globals, MLflow and credentials; and credentials hold references only."""
    folder = local_run.path / "conf/minio"
    assert {"globals.yml", "mlflow.yml", "credentials.yml"} == {file.name for file in folder.iterdir()}

    def leaves(value: Any) -> list[Any]:
        return [leaf for item in value.values() for leaf in leaves(item)] if isinstance(value, dict) else [value]

    values = leaves(yaml.safe_load((folder / "credentials.yml").read_text(encoding="utf-8")))
    assert [] == [value for value in values if not value.startswith("${oc.env:")]
