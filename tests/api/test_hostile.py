"""Whatever is sent, nothing fails: by the service's own description, made-up bodies, and callers who do not send."""

import contextlib
import http.client
import json
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.specs.openapi.checks import positive_data_acceptance

import candidates
from ml_lifecycle.api.keys import digest_of
from ml_lifecycle.api.log_segments import size_of
from servers import HOST
from service import Service, running

PATHS = ("/predict", "/invocations", f"/v2/models/{candidates.NAME}/infer")
BODIES = 10_000
CONNECTIONS = 10_000
#: JSON Schema cannot say that columns are all as long, or that a tensor has the values of its shape.
NOT_SAID = ("/invocations", "/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer")
KEY = "a-key-for-this-test"
MEBIBYTE = 2**20
#: Of what a process takes, after its first requests: what allocators keep for later, and no more with more requests.
GROWTH = 24 * MEBIBYTE


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Service]:
    """Run a service that asks for a key."""
    model = candidates.candidate(candidates.small_model(missing=0.5))
    with running(tmp_path, model, API_AUTHENTICATION="on", API_KEY_HASHES=digest_of(KEY)) as found:
        yield found


def test_every_path_does_what_its_description_says(guarded: Service) -> None:
    tested, key = [], {"X-API-Key": KEY}
    description = schemathesis.openapi.from_url(f"{guarded.url}/openapi.json", headers=key)
    for found in description.get_all_operations():
        operation = found.ok()

        @seed(7)
        @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def validate(case: Case) -> None:
            left_out = [positive_data_acceptance] if case.path in NOT_SAID else []
            case.call_and_validate(headers=key, excluded_checks=left_out)

        validate()
        tested.append(f"{operation.method.upper()} {operation.path}")
    assert {"POST /predict", "POST /invocations", "POST /v2/models/{name}/infer", "GET /model"} <= set(tested)


_leaf = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["NaN", "share", "carrier", "inputs", "FP32", "BYTES", "\x00", "\ud83d\ude00", "A" * 300]),
)
_anything = st.recursive(
    _leaf,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_share = st.floats(0, 1, width=32)
_carrier = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_good_record = st.fixed_dictionaries({"share": _share, "carrier": _carrier})
_good = st.one_of(
    _good_record,
    st.lists(_good_record, min_size=1, max_size=4),
    st.lists(_good_record, min_size=1, max_size=4).map(lambda rows: {"instances": rows}),
    _share.map(lambda share: {"inputs": {"share": [share], "carrier": ["AA"]}}),
    _share.map(
        lambda share: {
            "inputs": [
                {"name": "share", "shape": [1], "datatype": "FP32", "data": [share]},
                {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["AA"]},
            ]
        }
    ),
)
_record = st.fixed_dictionaries({"share": _leaf, "carrier": _leaf}, optional={"row_key": _leaf, "more": _leaf})
_columns = st.fixed_dictionaries({"share": st.lists(_leaf, max_size=3), "carrier": st.lists(_leaf, max_size=3)})
_tensor = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["share", "carrier", "other"]) | _leaf,
        "shape": st.lists(st.integers(-1, 3), max_size=2) | _leaf,
        "datatype": st.sampled_from(["FP32", "BYTES", "INT64", "FP16"]) | _leaf,
    },
    optional={"data": st.lists(_leaf, max_size=3) | _leaf, "parameters": _anything},
)
_shaped = st.one_of(
    _record,
    st.lists(_record, max_size=4),
    st.fixed_dictionaries({}, optional={"inputs": _columns | _anything, "instances": st.lists(_record, max_size=3)}),
    st.fixed_dictionaries({"dataframe_split": st.fixed_dictionaries({"columns": _anything, "data": _anything})}),
    st.fixed_dictionaries({"inputs": st.lists(_tensor, max_size=3)}, optional={"id": _leaf, "outputs": _anything}),
    _anything,
)
_body = st.one_of(
    _good.map(lambda content: json.dumps(content).encode()),
    _shaped.map(lambda content: json.dumps(content).encode()),
    _shaped.map(lambda content: json.dumps(content).encode()).flatmap(
        lambda text: st.integers(0, len(text)).map(lambda cut: text[:cut])
    ),
    st.binary(max_size=200),
)


def test_ten_thousand_made_up_bodies_are_answered_or_refused_and_take_no_memory(service: Service) -> None:
    statuses: Counter[int] = Counter()
    process = psutil.Process(service.pid)
    sizes: list[int] = []
    with contextlib.closing(http.client.HTTPConnection(HOST, service.port, timeout=30)) as caller:

        @seed(11)
        @settings(max_examples=BODIES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(path=st.sampled_from(PATHS), body=_body)
        def send(path: str, body: bytes) -> None:
            caller.request("POST", path, body, {"Content-Type": "application/json"})
            answer = caller.getresponse()
            told = answer.read()
            assert answer.status in (200, 404, 422), (path, body, told)
            assert b"Traceback" not in told
            json.loads(told)
            statuses[answer.status] += 1
            if sum(statuses.values()) % 1000 == 0:
                sizes.append(process.memory_info().rss)

        send()
    assert sum(statuses.values()) >= BODIES
    assert statuses[200] > BODIES / 100  # some of them are what the model is asked with
    assert sizes[-1] - sizes[1] < GROWTH, sizes
    assert service.get("/ready").status == 200


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process hold many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_ten_thousand_connections_that_send_nothing_or_little_do_not_keep_others_from_being_served(
    service: Service,
) -> None:
    idle: list[socket.socket] = []
    times: list[float] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            started = time.monotonic()
            assert service.post("/predict", {"share": 0.75, "carrier": "UA"}).status == 200
            times.append(time.monotonic() - started)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for number in range(CONNECTIONS):
            caller = socket.create_connection((HOST, service.port), timeout=30)
            idle.append(caller)
            if number % 2:
                with contextlib.suppress(OSError):  # it may have been closed, to make room
                    caller.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nX-Slow: a")
        before = len(times)
        time.sleep(2)
    finally:
        ended.set()
        asking.join()
        for caller in idle:
            caller.close()
    assert len(times) - before > 20  # also while all of them were open
    assert max(times) < 10
    assert service.get("/ready").status == 200
    assert size_of(service.cache / "log") < 2**30
