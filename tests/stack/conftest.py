"""The Compose stack of a small copy of the project, with images built from it."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from compose import RAW, Compose, registered
from project_copy import PROJECT, ProjectCopy
from servers import free_port

PORTS = ("MINIO_PORT", "MINIO_CONSOLE_PORT", "MLFLOW_PORT", "API_PORT", "JUPYTER_PORT", "VIZ_PORT")


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
    ports = {name: str(free_port()) for name in PORTS}
    named = {"STACK_NAME": f"ml-lifecycle-{os.getpid()}", "IMAGE_PREFIX": "ml-lifecycle-small", "IMAGE_TAG": "test"}
    stack = Compose(small_project, {**ports, **named})
    stack.make(".env")
    file = small_project.path / ".env"
    text = file.read_text(encoding="utf-8").replace(":9000", f":{ports['MINIO_PORT']}")
    file.write_text(text.replace(":5000", f":{ports['MLFLOW_PORT']}"), encoding="utf-8")
    try:
        stack.make("stack")
        yield stack
    finally:
        logs = stack.run("docker", "compose", "--profile", "*", "logs", "--no-color", "--tail", "200", check=False)
        sys.stderr.write(logs.stdout)  # which pytest shows beside what failed
        stack.run("docker", "compose", "--profile", "*", "down", "--volumes", check=False)


@pytest.fixture
def served(compose: Compose) -> dict[str, Any]:
    """Have a model that answers; return what it tells of itself."""
    if compose.version_served() is None:
        run = compose.make("stack-run", f"RAW={RAW}")
        return compose.wait_for_version(registered(run.stdout + run.stderr)[0])
    return dict(compose.ask("/model").json)
