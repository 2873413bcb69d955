"""Keys, limits, ids and headers: what every request passes and what every answer gets."""

import base64
import hashlib
import json
import re
import socket
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from ml_lifecycle.api import call, keys
from ml_lifecycle.api.guard import OPEN
from ml_lifecycle.api.keys import digest_of
from servers import HOST
from service import Service, running

RECORD = {"share": 0.75, "carrier": "UA"}
KEYS = ("first-key-of-a-caller", "second-key-ü")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that knows two keys, with small limits."""
    with running(
        tmp_path_factory.mktemp("guarded"),
        API_AUTHENTICATION="on",
        API_KEY_HASHES=", ".join(digest_of(key) for key in KEYS),
        API_MAX_BODY_BYTES="2000",
        API_MAX_ROWS="5",
        API_BODY_SECONDS="1",
    ) as found:
        yield found


def _basic(key: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{key}".encode()).decode()


@pytest.mark.parametrize("key", [KEYS[0]])
def test_each_way_to_show_a_key_is_taken(guarded: Service, key: str) -> None:
    for headers in ({"X_API_Key": key}, {"Authorization": f"Bearer {key}"}, {"Authorization": _basic(key)}):
        assert guarded.post("/predict", RECORD, **headers).status == 200


def test_every_known_key_is_taken(guarded: Service) -> None:
    assert guarded.post("/predict", RECORD, Authorization=_basic(KEYS[1])).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X_API_Key": "wrong"},
        {"X_API_Key": digest_of(KEYS[0])},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Digest {KEYS[0]}"},
        {"Authorization": "Basic !!!"},
        {"Authorization": KEYS[0]},
    ],
)
def test_without_a_known_key_nothing_is_answered(guarded: Service, headers: dict[str, str]) -> None:
    for path in ("/predict", "/invocations", "/v2/models/small_model/infer"):
        assert guarded.post(path, RECORD, **headers).status == 401
    for path in (
        "/",
        "/docs",
        "/static/page.css",
        "/openapi.json",
        "/metrics",
        "/model",
        "/latency",
        "/v2",
        "/nowhere",
    ):
        answer = guarded.get(path, **headers)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Basic ")


def test_health_needs_no_key(guarded: Service) -> None:
    assert {guarded.get(path).status for path in OPEN} == {200}


def test_a_key_is_in_no_log_and_no_answer(guarded: Service) -> None:
    answer = guarded.post("/predict", RECORD, X_API_Key=KEYS[0])
    wrong = guarded.post("/predict", RECORD, X_API_Key="sesame-sesame")
    time.sleep(0.3)  # lines of requests are written together
    told = (guarded.folder / "service.log").read_text() + answer.body.decode() + wrong.body.decode()
    assert "/predict" in told
    for secret in (*KEYS, "sesame", *map(digest_of, KEYS)):
        assert secret not in told


def test_a_new_key_is_random_and_its_digest_is_what_the_setting_wants(capsys: pytest.CaptureFixture[str]) -> None:
    keys.main()
    keys.main()
    found = re.findall(r"^key +(\S+) .*\n^digest +([0-9a-f]{64})", capsys.readouterr().out, re.MULTILINE)
    assert len({key for key, _ in found}) == 2
    for key, digest in found:
        assert hashlib.sha256(key.encode()).hexdigest() == digest
        assert len(key) >= 43  # 256 bits


def test_a_large_body_is_refused_before_it_is_read(guarded: Service) -> None:
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEYS[0]}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((HOST, guarded.port)) as caller:
        caller.sendall(f"{head}Content-Length: 2001\r\n\r\n".encode())
        assert caller.recv(100).startswith(b"HTTP/1.1 413")
    with socket.create_connection((HOST, guarded.port)) as caller:  # in pieces, without saying how many
        caller.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + b"3e8\r\n" + b" " * 1000 + b"\r\n")
        caller.sendall((b"3e8\r\n" + b" " * 1000 + b"\r\n") + b"3e8\r\n" + b" " * 1000 + b"\r\n")
        assert caller.recv(100).startswith(b"HTTP/1.1 413")


def test_more_rows_than_allowed_are_refused(guarded: Service) -> None:
    assert guarded.post("/predict", [RECORD] * 5, X_API_Key=KEYS[0]).status == 200
    refused = guarded.post("/predict", [RECORD] * 6, X_API_Key=KEYS[0])
    assert refused.status == 422
    assert "1 to 5" in refused.json["detail"]
    columns = {"share": [0.5] * 6, "carrier": ["UA"] * 6}
    assert "1 to 5" in guarded.post("/invocations", {"inputs": columns}, X_API_Key=KEYS[0]).json["message"]


def test_a_body_that_does_not_arrive_is_not_waited_for(guarded: Service) -> None:
    started = time.monotonic()
    with socket.create_connection((HOST, guarded.port)) as caller:
        head = (
            f"POST /predict HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEYS[0]}\r\nContent-Type: application/json\r\n"
        )
        caller.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        assert caller.recv(100).startswith(b"HTTP/1.1 408")
    assert 0.9 < time.monotonic() - started < 10


@pytest.mark.parametrize("given", ["0af7651916cd43dd8448eb211c80319c", "my.service:42/a+b=", "x" * 128])
def test_a_callers_id_is_echoed(service: Service, given: str) -> None:
    answer = service.post("/predict", RECORD, X_Request_ID=given)
    assert answer.headers["x-request-id"] == given
    assert answer.json["request_id"] == answer.headers["x-prediction-id"] != given


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", "ü", '"><script>', "a\tb", "{}", "%0d%0aSet-Cookie:x"])
def test_an_id_that_is_not_well_formed_is_not_echoed(service: Service, given: str) -> None:
    answer = service.post("/predict", RECORD, X_Request_ID=given.encode().decode("latin-1"))
    assert answer.headers["x-request-id"] == answer.json["request_id"]
    assert call.well_formed(given.encode()) is None


def test_every_answer_has_the_headers_that_protect_a_browser(service: Service) -> None:
    for answer in (service.get("/health"), service.get("/nowhere"), service.post("/predict", RECORD), service.get("/")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    page = service.get("/").headers["content-security-policy"]
    assert "script-src 'self'" in page
    assert "unsafe" not in page
    assert "server" not in service.get("/health").headers


def test_each_request_is_a_line_of_json(service: Service) -> None:
    answer = service.post("/predict", [RECORD] * 3, X_Request_ID="told-in-the-log")
    time.sleep(0.3)  # lines are written together
    (line,) = [line for line in service.log_lines() if line.get("correlation_id") == "told-in-the-log"]
    assert line["event"] == "request"
    assert line["request_id"] == answer.json["predictions"][0]["request_id"]
    assert (line["method"], line["route"], line["status"], line["version"], line["rows"]) == (
        "POST",
        "/predict",
        200,
        "1",
        3,
    )
    assert 0 < line["ms"] < 30_000


def test_measurements_count_requests_rows_refusals_and_the_model(service: Service) -> None:
    def counts() -> dict[str, float]:
        lines = service.get("/metrics").body.decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    before = counts()
    service.post("/predict", [RECORD, RECORD, {**RECORD, "share": 0.02}])
    service.post("/predict", {"share": "x"})
    service.get("/made/up")
    after = counts()

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown('ml_lifecycle_http_requests_total{route="/predict",status="200"}') == 1
    assert grown('ml_lifecycle_http_requests_total{route="/predict",status="422"}') == 1
    assert grown('ml_lifecycle_http_requests_total{route="other",status="404"}') == 1
    assert grown('ml_lifecycle_http_rejected_total{status="422"}') == 1
    assert grown('ml_lifecycle_prediction_rows_total{probability="0.75",version="1"}') == 2
    assert grown('ml_lifecycle_prediction_rows_total{probability="0.00",version="1"}') == 1
    assert grown('ml_lifecycle_http_request_seconds_count{route="/predict"}') == 2
    assert after["ml_lifecycle_model_ready"] == 1
    assert after["ml_lifecycle_model_reloads_total"] == 1
    assert any(name.startswith('ml_lifecycle_model_info{digest="') for name in after)


def test_the_latency_of_the_last_minutes_is_told(service: Service) -> None:
    for _ in range(20):
        service.post("/predict", RECORD)
    found = service.get("/latency").json
    assert found["count"] >= 20
    assert 0 < found["p50_ms"] <= found["p99_ms"]


def test_what_answers_may_be_read_again_and_again_over_one_connection(service: Service) -> None:
    with socket.create_connection((HOST, service.port)) as caller:
        body = json.dumps(RECORD).encode()
        head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        request = head + b"Content-Length: %d\r\n\r\n%b"
        caller.sendall(request % (len(body), body) * 3)  # without waiting for the answers in between
        told = b""
        while told.count(b'"request_id"') < 3:
            told += caller.recv(65536)
    ids = re.findall(rb'"request_id":"([^"]+)"', told)
    assert len(set(ids)) == 3
    assert all(one != other for one, other in pairwise(ids))


def test_a_page_of_another_site_may_not_ask(service: Service) -> None:
    own = f"http://{HOST}:{service.port}"
    assert service.post("/predict", RECORD, Origin=own).status == 200
    body = json.dumps(RECORD).encode()
    for path in ("/predict", "/invocations", "/v2/models/small_model/infer", "/model"):
        for origin in ("https://elsewhere.example", "null", f"http://{HOST}:1"):
            assert service.post(path, body, Origin=origin, Content_Type="text/plain").status == 403


def test_without_keys_only_names_of_this_machine_are_answered(service: Service, guarded: Service) -> None:
    """A name server elsewhere may give its own name this machine's address, and a browser believes it."""
    for host in ("localhost", f"localhost:{service.port}", "127.0.0.1", "[::1]:8000"):
        assert service.post("/predict", RECORD, Host=host).status == 200
    for host in ("elsewhere.example", "localhost.elsewhere.example:8000", "10.0.0.1"):
        assert service.post("/predict", RECORD, Host=host).status == 403
    assert guarded.post("/predict", RECORD, Host="service.example", X_API_Key=KEYS[0]).status == 200
