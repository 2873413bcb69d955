"""What the tracking store tells of the run that made a version."""

from dataclasses import replace

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ml_lifecycle.errors import RegistryError
from ml_lifecycle.registry import runs
from ml_lifecycle.registry.versions import Version

pytestmark = pytest.mark.filterwarnings("default")  # of third parties; test_lifecycle.py tests that a user sees none


def test_tells_tags_parameters_and_metrics(version: Version) -> None:
    """What the run logged is told as it stands there."""
    mlflow.set_tag("git.commit", "c0ffee")
    mlflow.log_param("seed", 7)
    mlflow.log_metric("roc_auc", 0.75)
    facts = runs.of(version)
    assert (facts.tags["git.commit"], facts.parameters, facts.metrics) == ("c0ffee", {"seed": "7"}, {"roc_auc": 0.75})
    assert facts.status == "RUNNING"


def test_another_run_does_not_count(version: Version) -> None:
    """The run is the one that made the version, not the one that goes on now."""
    with mlflow.start_run(nested=True, experiment_id=mlflow.active_run().info.experiment_id):
        mlflow.log_metric("roc_auc", 0.75)
        assert runs.of(version).metrics == {}


def test_a_deleted_run(client: MlflowClient, version: Version) -> None:
    """A run in MLflow's trash is not there any more."""
    client.delete_run(version.run_id)
    try:
        with pytest.raises(RegistryError, match=f"the run {version.run_id} is deleted"):
            runs.of(version)
    finally:
        client.restore_run(version.run_id)  # it is open still


def test_a_run_that_is_gone(version: Version) -> None:
    """A run that MLflow does not know is gone."""
    with pytest.raises(RegistryError, match=f"the run {'0' * 32} is gone"):
        runs.of(replace(version, run_id="0" * 32))


def test_another_fault_is_handed_on(version: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot answer is not taken for a run that is gone."""

    def fail(*_: object) -> None:
        raise MlflowException("busy", error_code=8)

    monkeypatch.setattr(mlflow.MlflowClient, "get_run", fail)
    with pytest.raises(MlflowException, match="busy"):
        runs.of(version)
