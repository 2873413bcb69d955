"""Records go in, probabilities and decisions come out, and the same facts in the headers."""

import json
from typing import Any

import numpy as np
import pytest

import candidates
from ml_lifecycle import request_id
from service import Service

RECORD = {"share": 0.75, "carrier": "UA"}
DIGEST = candidates.small_model().digest


def test_one_record_is_answered_with_all_that_tells_where_the_answer_comes_from(service: Service) -> None:
    answer = service.post("/predict", {**RECORD, "row_key": "k1"})
    assert answer.status == 200
    found = answer.json
    assert request_id.is_well_formed(found.pop("request_id"))
    assert found == {
        "probability": 0.75,
        "decision": "yes",
        "threshold": 0.5,
        "model": {"name": candidates.NAME, "version": "1", "digest": DIGEST},
    }


def test_the_headers_tell_the_same(service: Service) -> None:
    answer = service.post("/predict", {"share": 0.25, "carrier": "AA"})
    assert answer.headers["x-prediction-id"] == answer.json["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-probability"] == "0.25"
    assert answer.headers["x-decision"] == "no"
    assert answer.headers["x-threshold"] == "0.5"
    assert answer.headers["x-model-name"] == candidates.NAME
    assert answer.headers["x-model-version"] == "1"
    assert answer.headers["x-model-digest"] == DIGEST


def test_many_records_are_answered_in_their_order_each_with_an_id_of_its_own(service: Service) -> None:
    shares = np.linspace(0, 1, 300, dtype=np.float32).tolist()
    answer = service.post("/predict", [{"share": share, "carrier": "UA"} for share in shares])
    rows = answer.json["predictions"]
    assert [row["probability"] for row in rows] == shares
    assert [row["decision"] for row in rows] == ["yes" if share >= 0.5 else "no" for share in shares]
    assert len({row["request_id"] for row in rows}) == len(rows)
    assert answer.headers["x-prediction-id"] == rows[0]["request_id"]
    assert "x-probability" not in answer.headers


def test_a_list_of_one_is_answered_with_a_list(service: Service) -> None:
    assert [row["probability"] for row in service.post("/predict", [RECORD]).json["predictions"]] == [0.75]


def test_a_missing_value_is_null_and_not_left_out(service: Service) -> None:
    assert service.post("/predict", {"share": 0.5, "carrier": None}).status == 200
    refused = service.post("/predict", {"share": 0.5})
    assert refused.status == 422
    assert refused.json["errors"][0]["path"] == "$.carrier"


@pytest.mark.parametrize(
    ("body", "path", "said"),
    [
        ({**RECORD, "shar": 1}, "$.shar", "Did you mean 'share'?"),
        ({**RECORD, "share": "NaN"}, "$.share", "got `str`"),
        ({**RECORD, "share": True}, "$.share", "got `bool`"),
        ({**RECORD, "share": 1e39}, "$.share", "<= 3.4"),
        ({**RECORD, "share": float("nan")}, "$.share", "finite number"),
        ({**RECORD, "share": float("inf")}, "$.share", "finite number"),
        ({**RECORD, "carrier": 7}, "$.carrier", "got `int`"),
        ({**RECORD, "carrier": "x" * 201}, "$.carrier", "length <= 200"),
        ({**RECORD, "carrier": ["UA"]}, "$.carrier", "got `array`"),
        ([RECORD, {**RECORD, "share": "a"}], "$[1].share", "got `str`"),
        ([], "$", "length >= 1"),
        ([[]], "$[0]", "got `array`"),
        ("text", "$", "got `str`"),
        (None, "$", "got `null`"),
    ],
)
def test_what_is_no_record_is_refused_and_its_place_named(service: Service, body: Any, path: str, said: str) -> None:
    answer = service.post("/predict", body)
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert problem["errors"][0]["path"] == path
    assert said in problem["errors"][0]["message"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.body.decode()


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"share": 1e400, "carrier": "UA"}', b"[" * 100_000])
def test_what_is_no_json_is_refused(service: Service, body: bytes) -> None:
    answer = service.post("/predict", body)
    assert answer.status == 422
    assert answer.json["errors"]


def test_a_body_that_is_not_declared_as_json_is_refused(service: Service) -> None:
    body = json.dumps(RECORD).encode()
    for declared in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert service.post("/predict", body, Content_Type=declared).status == 415
    assert service.post("/predict", body, Content_Type="application/json; charset=utf-8").status == 200


def test_other_methods_and_paths_are_refused_in_the_same_form(service: Service) -> None:
    wrong = service.get("/predict")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    nowhere = service.get("/nowhere")
    assert nowhere.status == 404
    assert nowhere.json["detail"].startswith("GET /nowhere is not offered")


def test_a_numeric_key_is_taken_as_well(service: Service) -> None:
    assert service.post("/predict", {**RECORD, "row_key": 17}).status == 200
    assert service.post("/predict", {**RECORD, "row_key": 1.5}).json["errors"][0]["path"] == "$.row_key"


def test_a_row_that_the_model_has_no_answer_for_is_named_and_nothing_is_made_up(service: Service) -> None:
    answer = service.post("/predict", [RECORD, {"share": None, "carrier": "UA"}])
    assert answer.status == 422
    assert answer.json["errors"] == [{"path": "$[1]", "message": "the model has no answer"}]


ALL = ("/predict", "/invocations", f"/v2/models/{candidates.NAME}/infer")


@pytest.mark.parametrize("path", ALL)
@pytest.mark.parametrize(
    "body",
    [
        '{"share": 0.5, "carrier": "é"}'.encode("latin-1"),
        b'{"\xe9": 1}',
        b'{"\\ud800": NaN}',
        b'{"\\ud800": 1}',
        b'{"inputs": {"share": [NaN], "carrier": ["\\ud800"]}}',
        '{"share": 0.5, "carrier": "UA"}'.encode("utf-16"),
        b'{"x": [' + b"NaN," * 10_000 + b"0]}",
    ],
)
def test_texts_that_are_none_are_refused_and_told_in_one_line(service: Service, path: str, body: bytes) -> None:
    answer = service.post(path, body, X_Request_ID="odd-texts")
    assert answer.status == 422
    assert answer.headers["x-request-id"] == "odd-texts"
    assert isinstance(answer.json, dict)
    assert service.get("/health").status == 200


@pytest.mark.parametrize("path", ALL)
def test_a_name_of_any_length_is_told_in_short(service: Service, path: str) -> None:
    long = "a" * 1_000_000
    for body in ({**RECORD, long: 1}, {long: 1}, {"inputs": {long: [1]}}, {"inputs": [{"name": long, "shape": [1]}]}):
        answer = service.post(path, body)
        assert answer.status == 422
        assert len(answer.body) < 20_000
