"""Collecting the record of a run at its start."""

import contextlib
import hashlib
import os
import platform
import re
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from ml_lifecycle.errors import ProvenanceError
from ml_lifecycle.provenance import git
from ml_lifecycle.provenance.record import Environment, RunRecord, digest_of_parameters

LOCK = Path("requirements/run.txt")
#: Names the image that a container was started from, which nothing inside it can find out.
IMAGE_DIGEST = "IMAGE_DIGEST"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)


def _read_lock(project: Path) -> bytes:
    try:
        return (project / LOCK).read_bytes()
    except FileNotFoundError:
        raise ProvenanceError(
            f"The lock {LOCK} is missing, so the environment cannot be named. Run `make lock`."
        ) from None


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def deviations(lock: str) -> dict[str, str]:
    """Map packages to their installed version where a lock names others; what is not installed is not counted."""
    locked: dict[str, set[str]] = {}
    for name, version in _PIN.findall(lock):
        locked.setdefault(_plain(name), set()).add(version)
    installed: dict[str, str] = {}
    for found in metadata.distributions():
        with contextlib.suppress(FileNotFoundError):  # pip has left a folder behind
            described = found.metadata  # read from its file each time
            if "Name" in described and "Version" in described:
                installed.setdefault(_plain(described["Name"]), described["Version"])  # Python imports the first of two
    return {
        name: installed[name]
        for name, versions in sorted(locked.items())
        if name in installed and installed[name] not in versions
    }


def collect(
    project: Path,
    environment: str,
    pipelines: list[str],
    parameters: dict[str, Any],
    runtime_parameters: dict[str, Any] | None = None,
) -> RunRecord:
    """Collect what a run that starts now is made of.

    Raises:
        ProvenanceError: something cannot be determined.
    """
    lock = _read_lock(project)
    return RunRecord(
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        kedro_environment=environment,
        pipelines=pipelines,
        git=git.describe(project),
        environment=Environment(
            python=platform.python_version(),
            platform=platform.platform(),
            lock_sha256=hashlib.sha256(lock).hexdigest(),
            deviations=deviations(lock.decode()),
            image=os.environ.get(IMAGE_DIGEST) or None,
        ),
        parameters=parameters,
        parameters_sha256=digest_of_parameters(parameters),
        runtime_parameters=runtime_parameters or {},
    )
