"""What was found and decided about a version after it was registered: one file each, in the run that made it."""

import hashlib
import json
import tempfile
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from ml_lifecycle import whoami
from ml_lifecycle.errors import RegistryError
from ml_lifecycle.registry import versions
from ml_lifecycle.registry.versions import Version

FOLDER = "records"
DECISION, OVERTAKEN, REPRODUCTION = "decision", "overtaken", "reproduction"


@dataclass(frozen=True)
class Record:
    """A file with its SHA-256; ``content`` is None if it cannot be read."""

    path: str
    sha256: str
    content: dict[str, Any] | None


def store(version: Version, kind: str, content: dict[str, Any], tag: tuple[str, str]) -> Record:
    """Keep a record with a version, and its short form as a tag.

    Returns:
        The record with who, where and when.
    """
    full = {
        "kind": kind,
        "model": version.name,
        "version": version.number,
        "digest": version.digest,
        **content,
        "by": whoami.user(),
        "where": whoami.machine(),
        "at": whoami.now(),
    }
    text = json.dumps(full, indent=2, default=str)
    path = f"{_prefix(version, kind)}{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.json"
    mlflow.MlflowClient().log_text(version.run_id, text, path)
    versions.set_tag(version, *tag)
    return Record(path, hashlib.sha256(text.encode()).hexdigest(), full)


def of(version: Version, kind: str) -> list[Record]:
    """Read the records of a version, the oldest first.

    Raises:
        RegistryError: its run is gone.
    """
    client = mlflow.MlflowClient()
    try:
        files = client.list_artifacts(version.run_id, FOLDER)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise RegistryError(f"The run {version.run_id}, which made {version}, is gone.") from error
    prefix = _prefix(version, kind)
    paths = sorted(file.path for file in files)  # by time
    return [_read(version.run_id, path) for path in paths if path.startswith(prefix)]


def _prefix(version: Version, kind: str) -> str:
    return f"{FOLDER}/{kind}-{version.name}-{version.number}-"


def _read(run_id: str, path: str) -> Record:
    with tempfile.TemporaryDirectory() as temporary:  # as bytes: read as text, other ends of lines would look the same
        kept = Path(mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{path}", dst_path=temporary)).read_bytes()
    try:
        content = json.loads(kept)
    except ValueError:
        content = None
    return Record(path, hashlib.sha256(kept).hexdigest(), content if isinstance(content, dict) else None)
