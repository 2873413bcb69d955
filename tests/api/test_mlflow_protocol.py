"""MLflow's scoring protocol on a small model; with MLflow's own server beside it: tests/integration/test_serving.py."""

from typing import Any

import pytest
from mlflow import __version__ as of_mlflow

from service import Service

SHARES, CARRIERS = [0.25, 0.75, 0.5], ["AA", "UA", None]
ROWS = [{"share": share, "carrier": carrier} for share, carrier in zip(SHARES, CARRIERS, strict=True)]
SPLIT = {"columns": ["carrier", "share"], "data": [[row["carrier"], row["share"]] for row in ROWS]}
COLUMNS = {"share": SHARES, "carrier": CARRIERS}


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": SPLIT},
        {"dataframe_split": {**SPLIT, "index": [7, 8, 9]}},
        {"dataframe_records": ROWS},
        {"instances": ROWS},
        {"instances": COLUMNS},
        {"inputs": ROWS},
        {"inputs": COLUMNS},
        {"inputs": COLUMNS, "params": {}},
    ],
)
def test_each_form_of_the_protocol_is_answered(service: Service, body: dict[str, Any]) -> None:
    answer = service.post("/invocations", body)
    assert answer.status == 200
    assert answer.json == {"predictions": {"probability": SHARES}}
    assert answer.headers["x-model-version"] == "1"


def test_a_missing_number_may_be_written_as_python_does(service: Service) -> None:
    refused = service.post("/invocations", b'{"inputs": {"share": [0.5, NaN], "carrier": ["AA", "UA"]}}')
    assert refused.json["message"].startswith("The model has no answer for 1 of 2 rows")  # so it was read as missing
    assert service.post("/invocations", b'{"inputs": {"share": [Infinity], "carrier": ["AA"]}}').status == 422


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "one of dataframe_split, dataframe_records, instances, inputs"),
        ([], "one of dataframe_split"),
        ({"inputs": COLUMNS, "instances": ROWS}, "got inputs, instances"),
        ({"inputs": COLUMNS, "more": 1}, "Unknown field 'more'"),
        ({"inputs": COLUMNS, "params": {"a": 1}}, "$.params"),
        ({"inputs": 3}, "$.inputs"),
        ({"inputs": {"share": SHARES}}, "features carrier are missing"),
        ({"inputs": {**COLUMNS, "carier": CARRIERS}}, "Did you mean 'carrier'?"),
        ({"inputs": {**COLUMNS, "share": [0.5]}}, "differ in length"),
        ({"inputs": {**COLUMNS, "share": [0.5, "x", 1]}}, "$.inputs.share[1]"),
        ({"inputs": {**COLUMNS, "share": [0.5, 1e39, 1]}}, "$.inputs.share[1]"),
        ({"inputs": {**COLUMNS, "carrier": ["AA", 5, "UA"]}}, "$.inputs.carrier[1]"),
        ({"inputs": {"share": [], "carrier": []}}, "0 rows"),
        ({"instances": []}, "no rows"),
        ({"instances": [ROWS[0], 5]}, "$.instances[1]"),
        ({"instances": [ROWS[0], {"share": 1}]}, "$.instances[1]"),
        ({"dataframe_split": ROWS}, "'columns' and 'data'"),
        ({"dataframe_split": {**SPLIT, "data": [[1]]}}, "$.dataframe_split.data[0]"),
        ({"dataframe_split": {**SPLIT, "columns": ["share", "share"]}}, "each once"),
        ({"dataframe_split": {**SPLIT, "columns": ["share", 5]}}, "$.dataframe_split.columns"),
        ({"dataframe_split": {**SPLIT, "rows": []}}, "Unknown field 'rows'"),
        ({"dataframe_split": {**SPLIT, "data": []}}, "0 rows"),
    ],
)
def test_what_is_no_input_is_refused_as_mlflow_does(service: Service, body: Any, said: str) -> None:
    answer = service.post("/invocations", body)
    assert answer.status == 422
    assert set(answer.json) == {"error_code", "message"}
    assert answer.json["error_code"] == "BAD_REQUEST"
    assert said in answer.json["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"inputs": -Infinity}'])
def test_what_is_no_json_is_refused(service: Service, body: bytes) -> None:
    assert service.post("/invocations", body).status == 422


def test_ping_and_version_are_as_mlflows(service: Service) -> None:
    assert (service.get("/ping").status, service.get("/ping").body) == (200, b"\n")
    assert service.get("/health").status == 200
    assert service.get("/version").body.decode() in (of_mlflow, "unknown")
