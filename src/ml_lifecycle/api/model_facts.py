"""What is told about the model that answers: GET /model."""

import json
import re
from typing import Any

from ml_lifecycle.api.model_cache import Current, Loaded
from ml_lifecycle.api.records import Records
from ml_lifecycle.errors import LifecycleError
from ml_lifecycle.model_folder import CARD
from ml_lifecycle.nested import flat

EXAMPLE = "input_example.json"
#: Of an evaluation, what stands in the facts by itself.
_METRICS = "model"


def facts_of(current: Current, loaded: Loaded, records: Records) -> dict[str, Any]:
    """Put together the answer to GET /model; what the folder does not tell is None."""
    model, evaluation = loaded.model, _evaluation(loaded)
    schema, definitions = records.schema()
    return {
        "name": current.name,
        "version": current.version,
        "alias": current.alias,
        "digest": current.digest,
        "threshold": model.threshold,
        "labels": list(model.roles.labels),
        "created": current.created.isoformat(),
        "fetched_at": current.fetched_at.isoformat(),
        "run": current.run_id,
        "signed_by": loaded.signed_by.name,
        "record": _record(loaded),
        "metrics": evaluation.get(_METRICS),
        "evaluation": {name: value for name, value in evaluation.items() if name != _METRICS},
        "card": _text(loaded, CARD),
        "request": {
            "schema": {**schema, "$defs": definitions},
            "example": records.example(_example_row(loaded)),
            "columns": [
                {
                    "name": column.name,
                    "kind": column.kind,
                    "nullable": column.nullable,
                    "minimum": column.minimum,
                    "about": column.about,
                }
                for column in records.needed
            ],
        },
    }


def mlflow_version(loaded: Loaded) -> str:
    """The MLflow that stored the model, which is whose protocol its callers speak."""
    found = re.search(r"^mlflow_version: *'?([^'\s]+)", _text(loaded, "MLmodel") or "", re.MULTILINE)
    return found[1] if found else "unknown"


def _text(loaded: Loaded, file: str) -> str | None:
    try:
        return loaded.folder.read(file).decode()
    except LifecycleError:
        return None


def _evaluation(loaded: Loaded) -> dict[str, Any]:
    try:
        return loaded.folder.evaluation()
    except (LifecycleError, ValueError):
        return {}


def _example_row(loaded: Loaded) -> dict[str, Any]:
    """The first row of the model's own example, by feature."""
    text = _text(loaded, EXAMPLE)
    if text is None:
        return {}
    example = json.loads(text)
    return dict(zip(example["columns"], example["data"][0], strict=True))


def _record(loaded: Loaded) -> dict[str, Any] | None:
    """The origin of the model in short; the whole of it is ``kedro model show``."""
    try:
        origin = loaded.folder.provenance()
    except LifecycleError:
        return None
    run = origin.run
    return {
        "commit": run.git.commit,
        "dirty": run.git.dirty,
        "started_at": run.started_at,
        "kedro_environment": run.kedro_environment,
        "pipelines": run.pipelines,
        "python": run.environment.python,
        "platform": run.environment.platform,
        "lock_sha256": run.environment.lock_sha256,
        "data": {name: table.md5 for name, table in origin.raw_inputs.items()},
        "parameters": flat(run.parameters),
    }
