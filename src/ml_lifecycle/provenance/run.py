"""Collecting the record of a run at its start."""

import hashlib
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ml_lifecycle.errors import ProvenanceError
from ml_lifecycle.provenance import git
from ml_lifecycle.provenance.record import Environment, RunRecord, digest_of_parameters

LOCK = Path("requirements/run.txt")


def _digest_of_lock(project: Path) -> str:
    try:
        return hashlib.sha256((project / LOCK).read_bytes()).hexdigest()
    except FileNotFoundError:
        raise ProvenanceError(
            f"The lock {LOCK} is missing, so the environment cannot be named. Run `make lock`."
        ) from None


def collect(project: Path, environment: str, pipelines: list[str], parameters: dict[str, Any]) -> RunRecord:
    """Collect what a run that starts now is made of.

    Raises:
        ProvenanceError: something cannot be determined.
    """
    return RunRecord(
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        kedro_environment=environment,
        pipelines=pipelines,
        git=git.describe(project),
        environment=Environment(
            python=platform.python_version(), platform=platform.platform(), lock_sha256=_digest_of_lock(project)
        ),
        parameters=parameters,
        parameters_sha256=digest_of_parameters(parameters),
    )
