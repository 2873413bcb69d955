"""A real MLflow in a folder: SQLite for runs and models, files for artifacts."""

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mlflow
from mlflow import MlflowClient


@functools.cache
def _empty_database() -> tempfile.TemporaryDirectory[str]:
    """Make MLflow's tables once: it takes seconds."""
    folder = tempfile.TemporaryDirectory()
    MlflowClient(f"sqlite:///{folder.name}/mlflow.db").search_experiments()
    return folder


@contextlib.contextmanager
def own_mlflow(folder: Path) -> Iterator[MlflowClient]:
    """Make an empty MLflow in the folder the current one, with an open run."""
    shutil.copyfile(f"{_empty_database().name}/mlflow.db", folder / "mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = mlflow.create_experiment("test", artifact_location=str(folder / "artifacts"))
    try:
        with mlflow.start_run(experiment_id=experiment):
            yield MlflowClient()
    finally:
        mlflow.set_tracking_uri(None)


def stored(folder: Path) -> Path:
    """Find the only folder that the artifact store keeps of a model."""
    (model,) = (folder / "artifacts").rglob("model.onnx")
    return model.parent


def another_run() -> mlflow.ActiveRun:
    """Start a run beside the open one; without its experiment, artifacts would go into the current folder."""
    return mlflow.start_run(nested=True, experiment_id=mlflow.active_run().info.experiment_id)
