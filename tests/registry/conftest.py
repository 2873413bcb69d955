"""A real MLflow, a lock and a pair of keys for the tests of the registry."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

import candidates
from ml_lifecycle.registry import registration, versions
from ml_lifecycle.registry.versions import Version
from ml_lifecycle.signing.keys import SIGNING_KEY, VERIFYING_KEYS, Keys
from mlflow_store import own_mlflow


@pytest.fixture(autouse=True)
def _without_keys_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SIGNING_KEY, raising=False)
    monkeypatch.delenv(VERIFYING_KEYS, raising=False)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[MlflowClient]:
    """Make an MLflow of one's own the current one, with an open run."""
    with own_mlflow(tmp_path) as client:
        yield client


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """Return a lock that pins what a model needs."""
    return candidates.lock(tmp_path)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """Return a pair of keys."""
    return candidates.keys(tmp_path)


@pytest.fixture
def version(client: MlflowClient, lock: Path, keys: Keys) -> Version:
    """Register a version that has the alias @production."""
    number = registration.register(candidates.NAME, candidates.candidate(), lock, keys)
    client.set_registered_model_alias(candidates.NAME, "production", number)
    return versions.find(candidates.NAME, number)
