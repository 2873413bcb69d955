"""PostgreSQL under the tracking server, as a team has it."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from mlflow import MlflowClient

import servers
from project_copy import MODEL
from servers import Stack, Workplace

pytestmark = [pytest.mark.integration, pytest.mark.any_store, pytest.mark.filterwarnings("default")]


def test_the_lifecycle_on_postgresql(
    kind: str,
    known_secrets: set[str],
    person: Callable[[Stack], Workplace],
    local_run: servers.ProjectCopy,
    tmp_path: Path,
) -> None:
    """Runs and versions lie in PostgreSQL, the model is the same, and the password is in no log."""
    programs = servers.postgres_programs()
    if programs is None:
        pytest.skip("test_the_lifecycle_on_postgresql: PostgreSQL is not installed (`apt-get install postgresql`)")
    with (
        servers.postgres(programs) as (address, keys, folder),
        servers.object_store(kind, tmp_path) as store,
        servers.stack(store, tmp_path, address) as stack,
    ):
        known_secrets |= stack.secrets | {keys.secret}
        workplace = person(stack)
        workplace.run("kedro", "run", "--env", "minio")
        version = MlflowClient(stack.tracking_uri).get_model_version_by_alias(MODEL, "production")
        local = MlflowClient(f"sqlite:///{local_run.path / 'mlflow.db'}").get_model_version(MODEL, "1")
        with psycopg.connect(address) as connection:
            rows = connection.execute("SELECT name, version, run_id FROM model_versions").fetchall()
        logs = (folder / "postgres.log").read_text(encoding="utf-8")
    assert [(MODEL, int(version.version), version.run_id)] == rows
    assert local.tags["model_sha256"] == version.tags["model_sha256"]
    assert keys.secret not in logs
    assert not (tmp_path / "tracking.db").exists()
