"""After everything else in this folder: no key or password stands where somebody could read it."""

from pathlib import Path

import pytest

import servers
from servers import Stack, Workplace

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]

#: Where MinIO keeps its own table of users.
USERS = "objects/.minio.sys/"


def test_no_secret_in_any_file(
    remote_run: Workplace, known_secrets: set[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No file of any test holds a secret: output of commands, logs, databases, artifacts, caches."""
    base: Path = tmp_path_factory.getbasetemp()
    assert known_secrets
    assert any(base.rglob("*-said.log"))
    assert [] == [name for name in servers.secrets_in(base, known_secrets) if USERS not in name]


def test_no_secret_in_any_object(remote_run: Workplace, stack: Stack, tmp_path: Path) -> None:
    """No object of the three buckets holds a secret."""
    files = stack.store.files()
    for bucket in ("ml-data", "dvc", "mlflow"):
        if names := files.find(bucket):
            files.get(names, [str(tmp_path / name) for name in names])
    assert any(tmp_path.rglob("*.onnx"))
    assert [] == servers.secrets_in(tmp_path, stack.secrets)
