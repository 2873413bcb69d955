"""Processes that share nothing but the servers move an alias at once, and no move is lost."""

from collections.abc import Iterator
from typing import Any

import pytest
from mlflow import MlflowClient

from ml_lifecycle.alias_history import AliasHistory
from servers import Stack
from test_alias_history import Track, race

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]

FOLDER = "ml-data/alias-races"
MODEL = "raced"


def options(stack: Stack) -> dict[str, Any]:
    """Say how the pipelines open the store."""
    keys = stack.identities["pipelines"]
    return {"key": keys.key, "secret": keys.secret, "client_kwargs": {"endpoint_url": stack.endpoint}}


@pytest.fixture
def track(stack: Stack) -> Iterator[Track]:
    """Name a history in the store and a model on the tracking server; other tests find neither."""
    yield Track(f"s3://{FOLDER}", options(stack), stack.tracking_uri, MODEL)
    files = stack.store.files()
    if files.exists(FOLDER):
        files.rm(FOLDER, recursive=True)
    MlflowClient(stack.tracking_uri).delete_registered_model(MODEL)


def test_processes_of_several_machines(track: Track) -> None:
    """On a tracking server and an object store, six processes move at once, and no move is lost."""
    race(track)


def test_a_missing_bucket_is_no_empty_history(stack: Stack) -> None:
    """Without its bucket, a history is not read as empty."""
    with pytest.raises((FileNotFoundError, PermissionError)):
        AliasHistory("s3://nowhere/histories", options(stack)).read(MODEL, "production")
