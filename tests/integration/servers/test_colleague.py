"""A colleague's machine: a clone, the environment variables, and nothing else."""

from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from project_copy import MODEL, ProjectCopy
from servers import Stack, Workplace

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def colleague(remote_run: Workplace, stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Return a machine with a Git clone of the repository, whose owner has pushed the data."""
    remote_run.run("dvc", "push", "--quiet")
    path = tmp_path_factory.mktemp("colleague") / "clone"
    remote_run.run("git", "clone", "--quiet", str(remote_run.project.path), str(path))
    return Workplace(ProjectCopy(path), stack.variables)


def test_pulls_the_data(colleague: Workplace, remote_run: Workplace) -> None:
    """`dvc pull` brings the raw files, byte for byte."""
    folder = Path("data/01_raw/sample")
    assert not (colleague.project.path / folder).exists()
    colleague.run("dvc", "pull", "--quiet", "conf/test/dvc.yaml:raw_sample")
    owner = {file.name: file.read_bytes() for file in (remote_run.project.path / folder).iterdir()}
    assert owner == {file.name: file.read_bytes() for file in (colleague.project.path / folder).iterdir()}


def test_sees_the_registry(colleague: Workplace) -> None:
    """The registry names the version in production."""
    code = (
        f"from mlflow import MlflowClient; print(MlflowClient().get_registered_model('{MODEL}').aliases['production'])"
    )
    assert "1" == colleague.run("python", "-c", code).stdout.strip()


def test_scores_with_the_version_in_production(colleague: Workplace, stack: Stack) -> None:
    """`kedro run --pipelines serving` scores what lies in the store, and predictions name version and digest."""
    colleague.run("kedro", "run", "--env", "minio", "--pipelines", "serving")
    with stack.store.files().open("ml-data/07_model_output/predictions.parquet") as file:
        predictions = pd.read_parquet(file)
    version = MlflowClient(stack.tracking_uri).get_model_version_by_alias(MODEL, "production")
    assert {(version.version, version.tags["model_sha256"])} == set(
        zip(predictions["model_version"], predictions["model_digest"], strict=True)
    )
    code_of_colleague = colleague.run("git", "rev-parse", "HEAD").stdout.strip()
    runs = MlflowClient(stack.tracking_uri).search_runs(["1"], order_by=["attributes.start_time DESC"], max_results=1)
    assert (code_of_colleague, "serving") == (runs[0].data.tags["git.commit"], runs[0].data.tags["kedro.pipelines"])
