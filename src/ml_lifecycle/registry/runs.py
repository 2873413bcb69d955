"""What the tracking store tells of the run that made a version."""

import re
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from ml_lifecycle.errors import RegistryError
from ml_lifecycle.registry.versions import Version

#: What MLflow takes as the name of a run.
RUN_ID = re.compile(r"[A-Za-z0-9][\w-]{0,255}")


@dataclass(frozen=True)
class RunFacts:
    """Tags, parameters and metrics of a run as they stand there now."""

    tags: dict[str, str]
    parameters: dict[str, str]
    metrics: dict[str, float]
    status: str


def of(version: Version) -> RunFacts:
    """Read the run that made a version.

    Raises:
        RegistryError: it is gone.
    """
    try:
        run = mlflow.MlflowClient().get_run(version.run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise RegistryError(f"the run {version.run_id} is gone") from error
    if run.info.lifecycle_stage != "active":
        raise RegistryError(f"the run {version.run_id} is deleted")
    data: Any = run.data
    return RunFacts(dict(data.tags), dict(data.params), dict(data.metrics), str(run.info.status))
