"""Copies of the project, one full run, and Kedro inside this process."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from mlflow import MlflowClient

from project_copy import KedroRun, Lifecycle, ProjectCopy, finished, inside, run_kedro


@pytest.fixture(scope="session")
def clean_project(tmp_path_factory: pytest.TempPathFactory) -> ProjectCopy:
    """Return the project as a clone has it; read only."""
    return ProjectCopy.of_clone(tmp_path_factory.mktemp("clean") / "project")


@pytest.fixture
def project(clean_project: ProjectCopy, tmp_path: Path) -> ProjectCopy:
    """Return a clone of one's own, in which nothing has run."""
    return clean_project.clone(tmp_path / "project")


@pytest.fixture(scope="session")
def rebuilding(
    clean_project: ProjectCopy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ProjectCopy, "subprocess.Popen[str]"]]:
    """Start a run on one thread and with another hash seed, which proceeds beside the first."""
    copy = clean_project.clone(tmp_path_factory.mktemp("rebuilt") / "project")
    command = "kedro run --env test --pipelines data_engineering,training --params model.random_forest.n_jobs=1"
    process = copy.start(*command.split(), PYTHONHASHSEED="7")
    yield copy, process
    if process.returncode is None:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def lifecycle(
    clean_project: ProjectCopy,
    rebuilding: tuple[ProjectCopy, "subprocess.Popen[str]"],
    tmp_path_factory: pytest.TempPathFactory,
) -> Lifecycle:
    """Run the whole lifecycle once, as a user does: in a process that begins with nothing."""
    copy = clean_project.clone(tmp_path_factory.mktemp("lifecycle") / "project")
    result = finished(copy.start("kedro", "run", "--env", "test"))
    return Lifecycle(copy, result, MlflowClient(copy.tracking_uri))


@pytest.fixture(scope="session")
def rebuilt(rebuilding: tuple[ProjectCopy, "subprocess.Popen[str]"]) -> ProjectCopy:
    """Return the finished run on one thread and with another hash seed."""
    copy, process = rebuilding
    result = finished(process)
    assert result.returncode == 0, result.stderr
    return copy


@pytest.fixture
def finished_project(lifecycle: Lifecycle, tmp_path: Path) -> ProjectCopy:
    """Return a copy of one's own of the project after its first run."""
    return lifecycle.project.clone(tmp_path / "project")


@pytest.fixture
def kedro_run() -> Iterator[KedroRun]:
    """Return a function: `kedro run --env test …` in a copy, inside this process."""
    with contextlib.ExitStack() as stack:

        def run(project: ProjectCopy, *arguments: str) -> Result:
            stack.enter_context(inside(project))
            return run_kedro(project, *arguments)

        yield run
