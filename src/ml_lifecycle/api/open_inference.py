"""The Open Inference Protocol, version 2, as clients of KServe, Triton and MLServer speak it.

https://github.com/kserve/open-inference-protocol; binary tensors as of Triton's extension
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import struct
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from starlette.types import Receive, Scope, Send

from ml_lifecycle import __version__
from ml_lifecycle.api import call, tensors
from ml_lifecycle.api.body import header, read_body
from ml_lifecycle.api.predict import send_json
from ml_lifecycle.api.problems import Problem, short
from ml_lifecycle.api.records import place_of
from ml_lifecycle.api.scoring import Scoring
from ml_lifecycle.api.served_model import ServedModel
from ml_lifecycle.api.settings import Settings
from ml_lifecycle.api.slot import Serving
from ml_lifecycle.api.tensors import Array, Tensors, refused
from ml_lifecycle.onnx_model import OUTPUT

PLATFORM = "onnxruntime_onnx"
DECISION = "decision"
EXTENSIONS = ["binary_tensor_data"]
HEADER_LENGTH = b"inference-header-content-length"
#: Datatypes of numbers that become float32 without surprise, as numpy names them.
NUMBERS = {"FP32": "<f4", "FP64": "<f8", "INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8"}
TEXT = "BYTES"
LARGEST_SHAPE = 2**53
#: Digits of a number of bytes.
LONGEST_LENGTH = 18


class RequestInput(msgspec.Struct):
    """A tensor of a request."""

    name: str
    shape: Annotated[list[Annotated[int, Meta(ge=0, le=LARGEST_SHAPE)]], Meta(max_length=2)]
    datatype: str
    data: Any = None
    parameters: dict[str, Any] = {}


class RequestOutput(msgspec.Struct):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class InferenceRequest(msgspec.Struct):
    """A request."""

    inputs: list[RequestInput]
    id: Annotated[str, Meta(max_length=200)] | None = None
    parameters: dict[str, Any] = {}
    outputs: list[RequestOutput] = []


_DECODER = msgspec.json.Decoder(InferenceRequest)


@dataclass(frozen=True)
class Infer:
    """POST /v2/models/{name}[/versions/{version}]/infer."""

    scoring: Scoring
    settings: Settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            Problem: it is refused.
        """
        body = await read_body(receive, self.settings.max_body_bytes, self.settings.body_seconds)
        serving = self.scoring.slot.take()
        refuse_another(serving, scope["path_params"])
        request, binary = _request_in(body, header(scope, HEADER_LENGTH))
        computed = features_in(request, binary, Tensors(serving.model.model.roles, self.settings.max_rows))
        names = _outputs_asked(request)
        answer = await self.scoring.of_features(serving, computed, call.of(scope), "v2", tensors.as_json(computed))
        rows = len(answer.decisions)
        outputs = {
            OUTPUT: {"name": OUTPUT, "datatype": "FP32", "shape": [rows], "data": answer.probabilities},
            DECISION: {"name": DECISION, "datatype": TEXT, "shape": [rows], "data": answer.decisions},
        }
        content = {
            "model_name": serving.model.name,
            "model_version": serving.model.version,
            "id": request.id or answer.request_ids[0],
            "outputs": [outputs[name] for name in names],
        }
        await send_json(send, msgspec.json.encode(content), answer.headers(single=rows == 1))


def refuse_another(serving: Serving, asked: dict[str, str]) -> None:
    """Refuse a model or a version that is not the one that answers.

    Raises:
        Problem: 404.
    """
    model = serving.model
    if asked["name"] != model.name or asked.get("version", model.version) != model.version:
        version = f" version {asked['version']}" if "version" in asked else ""
        raise Problem(
            HTTPStatus.NOT_FOUND,
            f"There is no model '{asked['name']}'{version} here. What answers is '{model.name}', version "
            f"{model.version}.",
        )


def _request_in(body: bytes, header_length: bytes) -> tuple[InferenceRequest, bytes]:
    head, binary = body, b""
    if header_length:
        is_length = header_length.isdigit() and len(header_length) <= LONGEST_LENGTH
        if not is_length or int(header_length) > len(body):
            told = short(header_length.decode("latin-1"))
            raise refused(f"Inference-Header-Content-Length is {told}, of {len(body)} bytes")
        head, binary = body[: int(header_length)], body[int(header_length) :]
    try:
        return _DECODER.decode(head), binary
    except msgspec.ValidationError as error:
        raise refused(*place_of(error)) from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise refused(f"The body is no JSON: {error}") from None


def features_in(request: InferenceRequest, binary: bytes, rows: Tensors) -> dict[str, Array]:
    """Read the features out of a request: a tensor of n values, or n × 1, for each.

    Raises:
        Problem: 422.
    """
    columns: dict[str, Any] = {}
    places: dict[str, str] = {}
    for number, tensor in enumerate(request.inputs):
        place = f"$.inputs[{number}]"
        if tensor.name in columns:
            raise refused(f"The input '{short(tensor.name)}' stands there twice", place)
        size = tensor.parameters.get("binary_data_size")
        if size is not None:
            if not isinstance(size, int) or not 0 <= size <= len(binary):
                raise refused(f"binary_data_size is {size!r}, of {len(binary)} bytes that are left", place)
            data, binary = _of_binary(tensor, binary[:size], place), binary[size:]
        else:
            data = tensor.data
        columns[tensor.name], places[tensor.name] = _flat(tensor, data, place), f"{place}.data"
    if binary:
        raise refused(f"{len(binary)} bytes are left after the last tensor")
    return rows.of_columns(columns, "$.inputs", places)


def _flat(tensor: RequestInput, data: Any, place: str) -> list[Any]:
    if not isinstance(data, list):
        raise refused("Expected a list of values", f"{place}.data")
    count = 1
    for size in tensor.shape:
        count *= size
    if not tensor.shape or count != tensor.shape[0]:
        raise refused(f"The shape is {tensor.shape}. Allowed: [n] or [n, 1]", f"{place}.shape")
    if data and len(tensor.shape) > 1 and all(isinstance(item, list) and len(item) == 1 for item in data):
        data = [item[0] for item in data]
    if len(data) != count:
        raise refused(f"The shape {tensor.shape} has {count} values, the data {len(data)}", f"{place}.data")
    allowed = [*NUMBERS, TEXT]
    if tensor.datatype not in allowed:
        raise refused(f"The datatype is '{short(tensor.datatype)}'. Allowed: {', '.join(allowed)}", f"{place}.datatype")
    if tensor.datatype.startswith("INT") and not all(type(item) is int for item in data):
        raise refused(f"Not every value is a whole number, which {tensor.datatype} says", f"{place}.data")
    return data


def _of_binary(tensor: RequestInput, content: bytes, place: str) -> list[Any]:
    if tensor.datatype == TEXT:
        return _texts(content, place)
    kind = NUMBERS.get(tensor.datatype)
    if kind is None or len(content) % np.dtype(kind).itemsize:
        raise refused(f"{len(content)} bytes are no tensor of '{short(tensor.datatype)}'", place)
    values = np.frombuffer(content, dtype=kind).tolist()
    return [None if value != value else value for value in values]  # noqa: PLR0124 - NaN does not equal itself


def _texts(content: bytes, place: str) -> list[str]:
    found, at = [], 0
    while at < len(content):
        (length,) = struct.unpack_from("<I", content, at) if at + 4 <= len(content) else (len(content),)
        text = content[at + 4 : at + 4 + length]
        if len(text) != length:
            raise refused("The bytes end within a text", place)
        try:
            found.append(text.decode())
        except UnicodeDecodeError:
            raise refused("A text is not UTF-8", place) from None
        at += 4 + length
    return found


def _outputs_asked(request: InferenceRequest) -> list[str]:
    names = [output.name for output in request.outputs] or [OUTPUT, DECISION]
    if unknown := [name for name in names if name not in (OUTPUT, DECISION)]:
        raise refused(f"There is no output '{short(unknown[0])}'. Allowed: {OUTPUT}, {DECISION}", "$.outputs")
    if len(set(names)) != len(names):
        raise refused("An output is asked for twice", "$.outputs")
    return names


def server_metadata() -> dict[str, Any]:
    """GET /v2."""
    return {"name": "ml-lifecycle", "version": __version__, "extensions": EXTENSIONS}


def model_metadata(model: ServedModel) -> dict[str, Any]:
    """GET /v2/models/{name}: the tensors of the model, n rows each."""
    roles = model.model.roles
    numbers = [{"name": name, "datatype": "FP32", "shape": [-1]} for name in roles.numeric]
    texts = [{"name": name, "datatype": TEXT, "shape": [-1]} for name in roles.categorical]
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": PLATFORM,
        "inputs": [*numbers, *texts],
        "outputs": [
            {"name": OUTPUT, "datatype": "FP32", "shape": [-1]},
            {"name": DECISION, "datatype": TEXT, "shape": [-1]},
        ],
    }


def error(problem: Problem) -> bytes:
    """How the protocol tells what went wrong."""
    return msgspec.json.encode({"error": problem.told()})
