"""No key or password stands where somebody could read it. Files are searched in the end: `known_secrets`."""

from pathlib import Path

import pytest

import servers
from servers import Stack, Workplace

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]


def test_what_commands_say_is_kept_and_searched(remote_run: Workplace, known_secrets: set[str]) -> None:
    """What stands in it is found, so a secret would be."""
    folder = remote_run.project.path.parent
    assert known_secrets
    assert any(name.endswith("-said.log") for name in servers.secrets_in(folder, {"Completed node"}))


def test_no_secret_in_any_object(remote_run: Workplace, stack: Stack, tmp_path: Path) -> None:
    """No object of the three buckets holds a secret."""
    files = stack.store.files()
    for bucket in ("ml-data", "dvc", "mlflow"):
        if names := files.find(bucket):
            files.get(names, [str(tmp_path / name) for name in names])
    assert any(tmp_path.rglob("*.onnx"))
    assert [] == servers.secrets_in(tmp_path, stack.secrets)
