"""MLflow's scoring protocol, as ``mlflow models serve`` speaks it and SageMaker's callers do.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/#inference-server-specification
"""

from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from ml_lifecycle.api import call, tensors
from ml_lifecycle.api.body import read_body, refuse_other_types
from ml_lifecycle.api.predict import send_json
from ml_lifecycle.api.problems import Problem, short
from ml_lifecycle.api.scoring import Scoring
from ml_lifecycle.api.settings import Settings
from ml_lifecycle.api.tensors import Array, Tensors, refused
from ml_lifecycle.onnx_model import OUTPUT

#: The protocol's four forms, of which a body has one.
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
#: What may stand beside it; this model takes no parameters.
BESIDE = ("params",)


@dataclass(frozen=True)
class Invocations:
    """POST /invocations: rows of the model's features."""

    scoring: Scoring
    settings: Settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            Problem: it is refused.
        """
        refuse_other_types(scope)
        body = await read_body(receive, self.settings.max_body_bytes, self.settings.body_seconds)
        serving = self.scoring.slot.take()
        rows = Tensors(serving.model.model.roles, self.settings.max_rows)
        computed = features_in(tensors.read_json(body), rows)
        answer = await self.scoring.of_features(
            serving, computed, call.of(scope), "invocations", tensors.as_json(computed)
        )
        content = msgspec.json.encode({"predictions": {OUTPUT: answer.probabilities}})
        await send_json(send, content, answer.headers(single=len(answer.decisions) == 1))


def features_in(content: Any, rows: Tensors) -> dict[str, Array]:
    """Read the features out of a body.

    Returns:
        One array per feature.

    Raises:
        Problem: 422.
    """
    if not isinstance(content, dict) or len(forms := [form for form in FORMS if form in content]) != 1:
        got = (
            ", ".join(short(name) for name in list(content)[:10])
            if isinstance(content, dict)
            else type(content).__name__
        )
        raise refused(f"Expected an object with one of {', '.join(FORMS)}, got {got or 'an empty one'}")
    if unknown := sorted(set(content) - {*FORMS, *BESIDE}):
        raise refused(f"Unknown field '{short(unknown[0])}'. Allowed beside {forms[0]}: {', '.join(BESIDE)}")
    if content.get("params"):
        raise refused("The model takes no params", "$.params")
    form = forms[0]
    value, path = content[form], f"$.{form}"
    if form == "dataframe_split":
        return _of_split(value, rows, path)
    if isinstance(value, list):
        return rows.of_rows(value, path)
    if form != "dataframe_records" and isinstance(value, dict):
        return rows.of_columns(value, path)
    raise refused("Expected a list of objects, or an object with a list for each feature", path)


def _of_split(value: Any, rows: Tensors, path: str) -> dict[str, Array]:
    if (
        not isinstance(value, dict)
        or not isinstance(value.get("columns"), list)
        or not isinstance(value.get("data"), list)
    ):
        raise refused("Expected an object with the lists 'columns' and 'data'", path)
    if unknown := sorted(set(value) - {"columns", "data", "index"}):
        raise refused(f"Unknown field '{short(unknown[0])}'. Allowed: columns, data, index", path)
    names, data = value["columns"], value["data"]
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise refused("Expected the names of the features, each once", f"{path}.columns")
    for number, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(names):
            raise refused(f"Expected a list of {len(names)} values, one for each column", f"{path}.data[{number}]")
    by_name = (
        dict(zip(names, map(list, zip(*data, strict=True)), strict=True)) if data else {name: [] for name in names}
    )
    return rows.of_columns(by_name, f"{path}.data")


def error(problem: Problem) -> bytes:
    """How MLflow's server tells what went wrong."""
    code = "BAD_REQUEST" if problem.status.value < 500 else "INTERNAL_ERROR"  # noqa: PLR2004 - HTTP's
    return msgspec.json.encode({"error_code": code, "message": problem.told()})
