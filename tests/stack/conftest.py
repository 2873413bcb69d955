"""The Compose stack of a small copy of the project, with images built from it."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from compose import RAW, Compose, registered
from project_copy import PROJECT, ProjectCopy


@pytest.fixture(scope="session")
def small_project(tmp_path_factory: pytest.TempPathFactory) -> ProjectCopy:
    """Copy the project, let `base` be small, and lend it the virtual environment of these tests."""
    copy = ProjectCopy.of_clone(tmp_path_factory.mktemp("stack") / "project")
    copy.make_small()
    (copy.path / ".venv").symlink_to(PROJECT / ".venv")
    return copy


@pytest.fixture(scope="session")
def compose(small_project: ProjectCopy) -> Iterator[Compose]:
    """Build the images and start the stack, as the README says; remove all of it afterwards."""
    stack = Compose.of(small_project, f"ml-lifecycle-{os.getpid()}", "ml-lifecycle-small")
    try:
        stack.make("stack")
        yield stack
    finally:
        logs = stack.run("docker", "compose", "--profile", "*", "logs", "--no-color", "--tail", "200", check=False)
        sys.stderr.write(logs.stdout)  # which pytest shows beside what failed
        stack.remove()


@pytest.fixture
def served(compose: Compose) -> dict[str, Any]:
    """Have a model that answers; return what it tells of itself."""
    if compose.version_served() is None:
        run = compose.make("stack-run", f"RAW={RAW}")
        return compose.wait_for_version(registered(run.stdout + run.stderr)[0])
    return dict(compose.ask("/model").json)
