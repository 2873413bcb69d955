"""The Open Inference Protocol on a small model, in JSON and in Triton's binary form."""

import json
import struct
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton

import candidates
from servers import HOST
from service import Service

NAME = candidates.NAME
PATH = f"/v2/models/{NAME}/infer"
SHARES, CARRIERS = [0.25, 0.75], ["AA", "UÄ"]
SHARE = {"name": "share", "shape": [2], "datatype": "FP32", "data": SHARES}
CARRIER = {"name": "carrier", "shape": [2], "datatype": "BYTES", "data": CARRIERS}


def test_a_request_in_json_is_answered(service: Service) -> None:
    answer = service.post(PATH, {"id": "mine", "inputs": [SHARE, CARRIER]})
    assert answer.status == 200
    assert answer.json == {
        "model_name": NAME,
        "model_version": "1",
        "id": "mine",
        "outputs": [
            {"name": "probability", "datatype": "FP32", "shape": [2], "data": SHARES},
            {"name": "decision", "datatype": "BYTES", "shape": [2], "data": ["no", "yes"]},
        ],
    }
    assert answer.headers["x-prediction-id"]


def test_a_request_without_an_id_gets_ours(service: Service) -> None:
    answer = service.post(PATH, {"inputs": [SHARE, CARRIER]})
    assert answer.json["id"] == answer.headers["x-prediction-id"]


@pytest.mark.parametrize("kind", ["FP64", "INT8", "INT16", "INT32", "INT64"])
def test_other_numbers_are_taken(service: Service, kind: str) -> None:
    share = {**SHARE, "datatype": kind, "data": [0, 1]}
    answer = service.post(PATH, {"inputs": [share, CARRIER], "outputs": [{"name": "probability"}]})
    assert [output["data"] for output in answer.json["outputs"]] == [[0.0, 1.0]]


def test_columns_may_have_a_second_dimension_of_one(service: Service) -> None:
    nested = {**SHARE, "shape": [2, 1], "data": [[0.25], [0.75]]}
    flat = {**CARRIER, "shape": [2, 1]}
    assert service.post(PATH, {"inputs": [nested, flat]}).json["outputs"][0]["data"] == SHARES


@pytest.mark.parametrize("binary", [True, False])
def test_tritons_own_client_is_answered(service: Service, binary: bool) -> None:
    client = triton.InferenceServerClient(f"{HOST}:{service.port}")
    try:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(NAME)
        assert client.is_model_ready(NAME, "1")
        assert client.get_server_metadata()["name"] == "ml-lifecycle"
        metadata = client.get_model_metadata(NAME)
        assert metadata["versions"] == ["1"]
        assert {tensor["name"]: tensor["datatype"] for tensor in metadata["inputs"]} == {
            "share": "FP32",
            "carrier": "BYTES",
        }
        share, carrier = triton.InferInput("share", [2], "FP32"), triton.InferInput("carrier", [2], "BYTES")
        share.set_data_from_numpy(np.array(SHARES, dtype=np.float32), binary_data=binary)
        carrier.set_data_from_numpy(np.array(CARRIERS, dtype=object), binary_data=binary)
        outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("probability", "decision")]
        for asked in (outputs, None):
            found = client.infer(NAME, [share, carrier], outputs=asked)
            assert found.as_numpy("probability").tolist() == SHARES
            assert [str(label) for label in found.as_numpy("decision").tolist()] == ["no", "yes"]
    finally:
        client.close()


def test_a_missing_number_is_null_or_nan(service: Service) -> None:
    refused = service.post(PATH, {"inputs": [{**SHARE, "data": [0.5, None]}, CARRIER]})
    assert refused.json["error"].startswith("The model has no answer for 1 of 2 rows")


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([SHARE], "features carrier are missing"),
        ([SHARE, CARRIER, {**SHARE, "name": "other"}], "'other' is no feature"),
        ([SHARE, SHARE, CARRIER], "stands there twice"),
        ([{**SHARE, "shape": [3]}, CARRIER], "has 3 values, the data 2"),
        ([{**SHARE, "shape": [1, 2]}, CARRIER], "Allowed: [n] or [n, 1]"),
        ([{**SHARE, "shape": []}, CARRIER], "Allowed: [n] or [n, 1]"),
        ([{**SHARE, "shape": [-1]}, CARRIER], "$.inputs[0].shape[0]"),
        ([{**SHARE, "datatype": "FP16"}, CARRIER], "Allowed: FP32"),
        ([{**SHARE, "datatype": "INT64"}, CARRIER], "whole number"),
        ([{**SHARE, "data": [0.5, "x"]}, CARRIER], "$.inputs[0].data[1]"),
        ([{**SHARE, "data": None}, CARRIER], "Expected a list of values"),
        ([SHARE, {**CARRIER, "data": ["AA", 5]}], "$.inputs[1].data[1]"),
        ([{**SHARE, "parameters": {"binary_data_size": 8}}, CARRIER], "bytes that are left"),
        ([{"name": "share"}, CARRIER], "missing required field"),
        ("inputs", "Expected `array`"),
    ],
)
def test_what_is_no_input_is_refused_as_the_protocol_says(service: Service, inputs: Any, said: str) -> None:
    answer = service.post(PATH, {"inputs": inputs})
    assert answer.status == 422
    assert set(answer.json) == {"error"}
    assert said in answer.json["error"]


@pytest.mark.parametrize(
    "binary",
    [
        b"",
        struct.pack("<ff", 0.5, 0.5)[:-1],
        struct.pack("<ff", 0.5, 0.5) + b"more",
    ],
)
def test_tensors_that_do_not_fit_their_bytes_are_refused(service: Service, binary: bytes) -> None:
    share = {"name": "share", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    head = _head({"inputs": [share, CARRIER]})
    answer = service.post(PATH, head + binary, Inference_Header_Content_Length=str(len(head)))
    assert answer.status == 422


@pytest.mark.parametrize("texts", [b"\x02\0\0\0AA\x05\0\0\0BB", b"\x02\0\0\0AA\x01\0\0\0\xff", b"\x02\0", b""])
def test_texts_that_are_none_are_refused(service: Service, texts: bytes) -> None:
    size = {"binary_data_size": len(texts)}
    carrier = {"name": "carrier", "shape": [2], "datatype": "BYTES", "parameters": size}
    head = _head({"inputs": [SHARE, carrier]})
    assert service.post(PATH, head + texts, Inference_Header_Content_Length=str(len(head))).status == 422


@pytest.mark.parametrize("length", ["x", "-1", "99999"])
def test_a_wrong_length_of_the_header_is_refused(service: Service, length: str) -> None:
    assert service.post(PATH, {"inputs": [SHARE, CARRIER]}, Inference_Header_Content_Length=length).status == 422


def test_another_model_or_version_is_not_found(service: Service) -> None:
    for path in ("/v2/models/other", f"/v2/models/{NAME}/versions/2", f"/v2/models/{NAME}/versions/2/ready"):
        assert service.get(path).status == 404
    refused = service.post(f"/v2/models/{NAME}/versions/2/infer", {"inputs": [SHARE, CARRIER]})
    assert refused.status == 404
    assert "version 1" in refused.json["error"]
    assert service.post(f"/v2/models/{NAME}/versions/1/infer", {"inputs": [SHARE, CARRIER]}).status == 200


def test_an_unknown_output_is_refused(service: Service) -> None:
    answer = service.post(PATH, {"inputs": [SHARE, CARRIER], "outputs": [{"name": "shap"}]})
    assert "There is no output 'shap'" in answer.json["error"]


def _head(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()


def test_numbers_of_any_length_are_refused_soon(service: Service) -> None:
    length = service.post(PATH, {"inputs": [SHARE, CARRIER]}, Inference_Header_Content_Length="1" * 5000)
    assert length.status == 422
    shape = service.post(PATH, {"inputs": [{**SHARE, "shape": [2**53] * 100_000}, CARRIER]})
    assert shape.status == 422
    assert len(shape.body) < 1000


def test_an_output_may_be_asked_for_once(service: Service) -> None:
    answer = service.post(PATH, {"inputs": [SHARE, CARRIER], "outputs": [{"name": "probability"}] * 2})
    assert "asked for twice" in answer.json["error"]
