"""Reproductions inside a process: of this one, or of one of their own."""

import contextlib
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from ml_lifecycle.registry import versions
from ml_lifecycle.reproduction import virtual_environment
from ml_lifecycle.reproduction.outcome import Verdict
from ml_lifecycle.reproduction.place import Place
from ml_lifecycle.reproduction.reproduction import Reproduction, new_root
from ml_lifecycle.workspace import open_workspace
from project_copy import ProjectCopy, inside


@contextlib.contextmanager
def reproduction(project: ProjectCopy, version: str) -> Iterator[Reproduction]:
    """Open a reproduction of a version inside this process."""
    from kedro.framework.startup import bootstrap_project

    with inside(project):
        bootstrap_project(project.path)
        with open_workspace("test") as workspace, versions.folder(workspace.find(version)) as folder:
            yield Reproduction(project.path, folder, new_root(project.path, version), say=lambda _: None)


def make_again(project: ProjectCopy, version: str, venv: Path) -> Verdict:
    """Reproduce a version in an environment that was built before, with the same lock.

    In a process of its own: Kedro and MLflow keep in a process what they were told of another project.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_make_again, project, version, venv).result()


def _make_again(project: ProjectCopy, version: str, venv: Path) -> Verdict:
    def use(place: Place, python: str | None) -> None:
        if not place.venv.exists():
            place.venv.symlink_to(venv)

    virtual_environment.build = use
    with reproduction(project, version) as job:
        return job.reproduce(keep=False)
