"""One stack of real servers, and people who work with it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import servers
from project_copy import ProjectCopy
from servers import Stack, Workplace


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is in this folder; without MinIO, leave out what only MinIO has."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("servers")
    if not servers.is_minio(config.getoption("--object-store")):
        left_out = [item for item in items if item.get_closest_marker("minio")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def kind(request: pytest.FixtureRequest) -> str:
    """Return the kind of object store that was asked for."""
    return str(request.config.getoption("--object-store"))


@pytest.fixture(scope="session")
def known_secrets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[str]]:
    """Collect the secrets of every server; in the end none stands in a file: what was said, logs, databases, caches."""
    secrets: set[str] = set()
    yield secrets
    found = servers.secrets_in(tmp_path_factory.getbasetemp(), secrets)
    assert [] == [name for name in found if servers.MINIO_USERS not in name]


@pytest.fixture(scope="session")
def stack(kind: str, known_secrets: set[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start the servers, or only the tracking server if an object store is given."""
    folder = tmp_path_factory.mktemp("stack")
    store = servers.given_store() if servers.is_given() else servers.object_store(kind, folder)
    with store as opened, servers.stack(opened, folder) as running:
        known_secrets |= running.secrets
        yield running


@pytest.fixture(scope="session")
def small_project(clean_project: ProjectCopy, tmp_path_factory: pytest.TempPathFactory) -> ProjectCopy:
    """Return the project on the sample, as a clone has it; read only."""
    project = clean_project.clone(tmp_path_factory.mktemp("small") / "project")
    project.make_small()
    return project


@pytest.fixture(scope="session")
def person(small_project: ProjectCopy, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Stack], Workplace]:
    """Return a function: a new machine with a clone of the project, which knows a stack."""

    def new(stack: Stack) -> Workplace:
        return Workplace(small_project.clone(tmp_path_factory.mktemp("person") / "project"), stack.variables)

    return new


@pytest.fixture(scope="session")
def local_run(small_project: ProjectCopy, tmp_path_factory: pytest.TempPathFactory) -> ProjectCopy:
    """Return the project after `kedro run`, on files and SQLite."""
    project = small_project.clone(tmp_path_factory.mktemp("local") / "project")
    project.run("kedro", "run")
    return project


@pytest.fixture(scope="session")
def remote_run(person: Callable[[Stack], Workplace], stack: Stack) -> Workplace:
    """Return a machine after `kedro run --env minio`."""
    workplace = person(stack)
    workplace.run("kedro", "run", "--env", "minio")
    return workplace
