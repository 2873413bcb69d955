"""Raw inputs travel through DVC's remote in the object store, version by version."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from project_copy import MODEL, ProjectCopy
from servers import Stack, Workplace

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]

RAW = "data/01_raw/sample"
FLIGHTS = f"{RAW}/flights.csv.zip"
STAGE = "conf/test/dvc.yaml:raw_sample"
RUN = ("kedro", "run", "--env", "minio")
APPENDED = 40


def registered(stack: Stack, version: int) -> ModelVersion:
    """Return a registered version."""
    return MlflowClient(stack.tracking_uri).get_model_version(MODEL, str(version))


def newest(stack: Stack) -> int:
    """Return the number of the newest version."""
    return max(
        int(found.version) for found in MlflowClient(stack.tracking_uri).search_model_versions(f"name='{MODEL}'")
    )


def forget_data(project: ProjectCopy) -> None:
    """Delete DVC's cache and the raw files."""
    shutil.rmtree(project.path / ".dvc/cache")
    shutil.rmtree(project.path / RAW)


def append_rows(path: Path) -> None:
    """Append flights: the last ones again, under other flight numbers."""
    flights = pd.read_csv(path, dtype=str, keep_default_na=False)
    more = flights.tail(APPENDED).assign(flight=[str(8000 + number) for number in range(APPENDED)])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("flights.csv", pd.concat([flights, more]).to_csv(index=False))


@pytest.fixture(scope="module")
def owner(remote_run: Workplace) -> Workplace:
    """Return the machine of the first run, with its data pushed."""
    remote_run.run("dvc", "push", "--quiet")
    return remote_run


def test_data_come_back_from_the_remote(owner: Workplace, stack: Stack) -> None:
    """Without cache and raw files, `dvc pull` restores them, and a run makes the same model."""
    forget_data(owner.project)
    owner.run("dvc", "pull", "--quiet", STAGE)
    owner.run(*RUN)
    first, again = registered(stack, 1), registered(stack, newest(stack))
    assert first.version != again.version
    assert first.tags["model_sha256"] == again.tags["model_sha256"]


def test_a_run_restores_missing_data_from_the_remote(owner: Workplace) -> None:
    """A run that finds no raw files and no cache pulls them by itself, before its own stage would make them."""
    forget_data(owner.project)
    result = owner.run(*RUN, "--pipelines", "data_engineering")
    assert "raw input 'flights' restored from the DVC remote" in result.stderr


def test_two_versions_of_the_data(owner: Workplace, stack: Stack) -> None:
    """Appended rows become a second data version; going back to the first gives the first model again."""
    project, first = owner.project, registered(stack, 1)
    append_rows(project.path / FLIGHTS)
    assert "has changed: DVC recorded MD5" in owner.run(*RUN, check=False).stderr
    owner.run("dvc", "commit", "--quiet", "--force", STAGE)
    project.commit()
    owner.run("dvc", "push", "--quiet")
    owner.run(*RUN)
    second = registered(stack, newest(stack))

    owner.run("git", "checkout", "--quiet", "HEAD~1")
    owner.run("dvc", "checkout", "--quiet", STAGE)
    owner.run(*RUN)
    third = registered(stack, newest(stack))

    assert first.tags["dvc.flights"] == third.tags["dvc.flights"] != second.tags["dvc.flights"]
    assert first.tags["model_sha256"] == third.tags["model_sha256"] != second.tags["model_sha256"]
    assert first.tags["git.commit"] == third.tags["git.commit"] != second.tags["git.commit"]
    assert {"false"} == {version.tags["git.dirty"] for version in (first, second, third)}


def test_both_versions_lie_in_the_bucket(owner: Workplace, stack: Stack) -> None:
    """The remote holds the raw files of both versions under their hashes."""
    test_versions = {version.tags["dvc.flights"] for version in map(stack_versions(stack), range(1, newest(stack) + 1))}
    kept = {name.removeprefix("dvc/files/md5/").replace("/", "") for name in stack.store.files().find("dvc")}
    assert 2 == len(test_versions)
    assert test_versions <= kept


def stack_versions(stack: Stack) -> Callable[[int], ModelVersion]:
    """Return a function that looks a version up."""
    return lambda number: registered(stack, number)


def test_without_the_store_everything_works_as_before(small_project: ProjectCopy, tmp_path: Path) -> None:
    """A clone that knows no store makes its raw data by their stage, and asks no remote."""
    project = small_project.clone(tmp_path / "project")
    result = project.run("kedro", "run", "--pipelines", "data_engineering")
    assert "restored by its stage 'conf/test/dvc.yaml:raw_sample'" in result.stderr
