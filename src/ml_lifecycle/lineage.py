"""What is known about a version, and about an answer, as people read it."""

from typing import Any

from ml_lifecycle import prediction_log
from ml_lifecycle.errors import LifecycleError, RegistryError
from ml_lifecycle.metrics import METRICS
from ml_lifecycle.model_folder import ModelFolder
from ml_lifecycle.prediction_log import Prediction
from ml_lifecycle.promotion import ALIASES, signature_of
from ml_lifecycle.registry import records, versions
from ml_lifecycle.registry.versions import Version
from ml_lifecycle.workspace import Workspace

REPRODUCED = "reproduced"


class PredictionError(LifecycleError):
    """No answer has the id that was asked for."""


def _verdicts(version: Version) -> dict[str, str]:
    """The last word on a version, by kind."""
    names = {**{f"decision.{alias}": f"gate for @{alias}" for alias in ALIASES}, REPRODUCED: REPRODUCED}
    return {title: version.tags[tag] for tag, title in names.items() if tag in version.tags}


def _of_folder(version: Version, workspace: Workspace) -> tuple[str, str, dict[str, Any] | None]:
    """What its folder tells: what came of checking the signature, with which key or why, and how good it is."""
    try:
        with versions.folder(version) as folder:
            return *signature_of(folder, workspace.keys), _quality(folder)
    except RegistryError as error:
        return "unchecked", error.message, None


def _quality(folder: ModelFolder) -> dict[str, Any] | None:
    try:
        return dict(folder.evaluation()["model"])
    except (RegistryError, KeyError, TypeError, ValueError):
        return None


def in_short(version: Version, workspace: Workspace) -> dict[str, Any]:
    """A version in a few fields; what cannot be read is None."""
    tags = version.tags
    found, detail, quality = _of_folder(version, workspace)
    return {
        "version": version.number,
        "aliases": list(version.aliases),
        "created": version.created.isoformat(timespec="seconds"),
        "digest": version.digest,
        "metrics": quality and {name: quality.get(name) for name in METRICS},
        "commit": tags.get("git.commit"),
        "clean": None if "git.dirty" not in tags else tags["git.dirty"] == "false",
        "data": {name.removeprefix("dvc."): tags[name] for name in sorted(tags) if name.startswith("dvc.")},
        "signature": found,
        "signature_detail": detail,
        "verdicts": _verdicts(version),
    }


def in_full(version: Version, workspace: Workspace) -> dict[str, Any]:
    """A version with everything that is recorded of it."""
    try:
        with versions.folder(version) as folder:
            origin = folder.provenance()
            record: dict[str, Any] | None = origin.model_dump(mode="json", exclude={"run": {"git": {"patch"}}})
    except LifecycleError:
        record = None
    return {
        **in_short(version, workspace),
        "run": version.run_id,
        "record": record,
        "decisions": [kept.content for kept in records.of(version, records.DECISION)],
        "reproductions": [kept.content for kept in records.of(version, records.REPRODUCTION)],
    }


def trace(request_id: str, workspace: Workspace) -> tuple[Prediction, Version]:
    """Find the answer with an id, and the version that gave it.

    Raises:
        RequestIdError: the text is no request id.
        PredictionError: no answer has it, or the version it names is gone or has another model.
    """
    url, options = workspace.prediction_log
    found = prediction_log.find(url, request_id, options)
    if found is None:
        raise PredictionError(
            f"No answer in the prediction log ({url}) has the id {request_id}. Ids stand in the column 'request_id' of "
            "the predictions; each environment has a log of its own: name it with --env. Answers of the service arrive "
            "there when they are API_LOG_SECONDS old."
        )
    version = versions.find(found.model_name, found.model_version)
    if version.digest != found.model_digest:
        raise PredictionError(
            f"The answer {request_id} was given by {version} with SHA-256 {found.model_digest}, but the registry says "
            f"that this version has SHA-256 {version.digest or 'nothing'}. `kedro model audit {version.number}` tells "
            "more."
        )
    return found, version
