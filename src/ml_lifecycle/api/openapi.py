"""The description of the service as an OpenAPI document; of the model that answers now, as records have its columns."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from ml_lifecycle.api.guard import OPEN
from ml_lifecycle.api.records import LARGEST, LONGEST_TEXT
from ml_lifecycle.api.served_model import ServedModel
from ml_lifecycle.onnx_model import OUTPUT

REF = "#/components/schemas/"
_TEXT, _NUMBER = {"type": "string"}, {"type": "number"}

_MODEL = {
    "type": "object",
    "properties": {"name": _TEXT, "version": _TEXT, "digest": {**_TEXT, "description": "SHA-256 of the model"}},
    "required": ["name", "version", "digest"],
}
_ROW = {
    "request_id": {**_TEXT, "description": "`kedro model trace` takes it"},
    "probability": {**_NUMBER, "minimum": 0, "maximum": 1},
    "decision": {**_TEXT, "description": "the label that the probability decides for, at the threshold"},
}
_ABOUT = {"threshold": _NUMBER, "model": {"$ref": f"{REF}AnsweringModel"}}
SCHEMAS: dict[str, Any] = {
    "AnsweringModel": _MODEL,
    "Prediction": {"type": "object", "properties": {**_ROW, **_ABOUT}, "required": [*_ROW, *_ABOUT]},
    "Predictions": {
        "type": "object",
        "properties": {
            "predictions": {"type": "array", "items": {"type": "object", "properties": _ROW, "required": [*_ROW]}},
            **_ABOUT,
        },
        "required": ["predictions", *_ABOUT],
    },
    "Problem": {
        "type": "object",
        "description": "RFC 9457",
        "properties": {
            "type": _TEXT,
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
            "errors": {
                "type": "array",
                "items": {"type": "object", "properties": {"path": _TEXT, "message": _TEXT}},
            },
            "request_id": _TEXT,
        },
        "required": ["type", "title", "status", "detail", "errors", "request_id"],
    },
    "MlflowError": {
        "type": "object",
        "properties": {"error_code": _TEXT, "message": _TEXT},
        "required": ["error_code", "message"],
    },
    "InferenceError": {"type": "object", "properties": {"error": _TEXT}, "required": ["error"]},
}
SECURITY = {
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic", "description": "the key as password; for browsers"},
}
REFUSALS = {
    "400": "The request is no HTTP that is understood, or its sender went away",
    "401": "A key is needed",
    "403": "A page of another site asks, or a name that is not this machine's where no key is asked for",
    "404": "There is no such path, model or version",
    "405": "There is no such method",
    "408": "The body did not arrive in time",
    "413": "The body is too large",
    "415": "The body is not declared to be JSON",
    "422": "The body is not what the model is asked with; `errors` names the places",
    "503": "There is no model, or too much is waiting",
}


def document(app: FastAPI, model: ServedModel | None) -> dict[str, Any]:
    """Describe the service.

    Args:
        app: with the paths that are read only.
        model: that answers now; without one the records are not described.
    """
    found = get_openapi(
        title=app.title,
        version=app.version,
        description="Predictions by one registered model. `GET /model` tells which, how good it is, and its origin.",
        routes=app.routes,
    )
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(SCHEMAS)
    found["components"]["securitySchemes"] = SECURITY
    found["security"] = [{name: []} for name in SECURITY]
    record: dict[str, Any] = {"type": "object"}
    example: Any = None
    if model is not None:
        record, definitions = model.records.schema()
        schemas.update(definitions)
        example = model.facts["request"]["example"]
    paths = found["paths"]
    paths["/predict"] = {"post": _predict(record, example)}
    paths["/invocations"] = {"post": _invocations(model)}
    for path in ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"):
        paths[path] = {"post": _infer(model, path)}
    for path, operations in paths.items():
        for operation in operations.values():
            _add_refusals(operation, "InferenceError" if path.startswith("/v2") else "Problem")
            if path in OPEN:
                operation["security"] = []
    return found


def _json(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema, **more}}


def _predict(record: dict[str, Any], example: Any) -> dict[str, Any]:
    body = {"oneOf": [record, {"type": "array", "items": record, "minItems": 1}]}
    more = {} if example is None else {"example": example}
    answer = {"oneOf": [{"$ref": f"{REF}Prediction"}, {"$ref": f"{REF}Predictions"}]}
    return {
        "tags": ["predictions"],
        "operationId": "predict",
        "summary": "Probability and decision for one record, or for each of many",
        "requestBody": {"required": True, "content": _json(body, **more)},
        "responses": {"200": {"description": "The answer", "content": _json(answer)}, **_told("Problem")},
    }


def _row(model: ServedModel | None) -> dict[str, Any]:
    """An object with a value for each feature."""
    if model is None:
        return {"type": "object"}
    roles = model.model.roles
    number = {"type": ["number", "null"], "minimum": -LARGEST, "maximum": LARGEST}
    text = {"type": ["string", "null"], "maxLength": LONGEST_TEXT}
    return {
        "type": "object",
        "properties": {**dict.fromkeys(roles.numeric, number), **dict.fromkeys(roles.categorical, text)},
        "required": roles.columns,
        "additionalProperties": False,
    }


def _columns(row: dict[str, Any]) -> dict[str, Any]:
    """An object with a list of values, all as long, for each feature."""
    lists = {
        name: {"type": "array", "items": value, "minItems": 1} for name, value in row.get("properties", {}).items()
    }
    return {**row, "properties": lists} if lists else row


def _invocations(model: ServedModel | None) -> dict[str, Any]:
    row = _row(model)
    rows = {"type": "array", "items": row, "minItems": 1}
    either = {"oneOf": [rows, _columns(row)]}
    split = {
        "type": "object",
        "properties": {
            "columns": {"type": "array", "items": _TEXT},
            "data": {"type": "array", "items": {"type": "array"}},
            "index": {"type": "array"},
        },
        "required": ["columns", "data"],
    }
    forms = {"inputs": either, "instances": either, "dataframe_records": rows, "dataframe_split": split}
    body = {
        "oneOf": [
            {"type": "object", "properties": {name: schema}, "required": [name]} for name, schema in forms.items()
        ]
    }
    answer = {
        "type": "object",
        "properties": {"predictions": {"type": "object", "properties": {OUTPUT: {"type": "array", "items": _NUMBER}}}},
        "required": ["predictions"],
    }
    return {
        "tags": ["MLflow"],
        "operationId": "invocations",
        "summary": "MLflow's scoring protocol, with the model's features",
        "requestBody": {"required": True, "content": _json(body)},
        "responses": {"200": {"description": "The answer", "content": _json(answer)}, **_told("MlflowError")},
    }


def _infer(model: ServedModel | None, path: str) -> dict[str, Any]:
    tensor = {
        "type": "object",
        "properties": {
            "name": _TEXT if model is None else {"enum": model.model.roles.columns},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "datatype": _TEXT,
            "data": {"type": "array"},
        },
        "required": ["name", "shape", "datatype"],
    }
    body = {
        "type": "object",
        "properties": {"id": _TEXT, "inputs": {"type": "array", "items": tensor}},
        "required": ["inputs"],
    }
    answer = {"type": "object", "required": ["model_name", "model_version", "id", "outputs"]}
    names = ["name", "version"] if "{version}" in path else ["name"]
    return {
        "tags": ["Open Inference"],
        "operationId": f"infer{'_version' * (len(names) - 1)}",
        "summary": "The Open Inference Protocol, with the model's features",
        "parameters": [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names],
        "requestBody": {"required": True, "content": _json(body)},
        "responses": {"200": {"description": "The answer", "content": _json(answer)}, **_told("InferenceError")},
    }


def _told(schema: str) -> dict[str, Any]:
    """How the protocol of an operation tells what it refuses."""
    kind = "application/problem+json" if schema == "Problem" else "application/json"
    content = {kind: {"schema": {"$ref": f"{REF}{schema}"}}}
    return {status: {"description": text, "content": content} for status, text in REFUSALS.items()}


def _add_refusals(operation: dict[str, Any], schema: str) -> None:
    """What every operation may answer."""
    told = _told(schema)
    for status in ("401", "403", "404", "503"):
        operation["responses"].setdefault(status, told[status])
