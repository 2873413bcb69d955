"""What `make bench-serving` reads, and reckons with: its figures are only as good as these."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from candidates import small_model

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT))

from benchmarks.load import figures, samples, wrk  # noqa: E402  # the root is on the path only from here on
from benchmarks.load.bodies import Rows  # noqa: E402
from benchmarks.load.figures import INPUTS, LIT, LIT_BATCHING, NO_OP, OURS, SPLIT, Case, Goal, Results, Seen  # noqa: E402
from benchmarks.load.service import PORT, START_SECONDS, Form, Service  # noqa: E402
from benchmarks.load.wrk import Load  # noqa: E402

SAID = """Running 2s test @ http://127.0.0.1:18002/predict
  1 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   312.44us  310.02us   9.03ms   97.02%
  Non-2xx or 3xx responses: 3
WRK {"requests": 24000, "seconds": 2.000000, "p50": 0.245, "p99": 0.931, FAILURES}
"""
NONE = '"refused": 0, "connect": 0, "read": 0, "write": 0, "timeout": 0'


def _read(failures: str) -> Load:
    return wrk.read(SAID.replace("FAILURES", failures))


def test_reads_what_wrk_saw() -> None:
    """Requests per second are those of the whole time, latencies are in milliseconds."""
    found = _read(NONE)
    assert (12_000.0, 0.245, 0.931, 0) == (found.rate, found.p50, found.p99, found.failed)


@pytest.mark.parametrize("failure", ["refused", "connect", "read", "write", "timeout"])
def test_every_failure_counts(failure: str) -> None:
    """An answer that refuses, and every way in which a connection breaks."""
    assert 3 == _read(NONE.replace(f'"{failure}": 0', f'"{failure}": 3')).failed


@pytest.mark.parametrize("said", ["", "unable to connect to 127.0.0.1:9 Connection refused\n"])
def test_output_without_figures_is_refused(said: str) -> None:
    """And what wrk said instead is told."""
    with pytest.raises(SystemExit, match=f"wrk did not say what it measured.*\n{said}"):
        wrk.read(said)


def test_says_so_where_there_is_no_wrk(tmp_path: Path) -> None:
    """With what to do, before anything else is done."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving"],
        cwd=PROJECT,
        env={"PATH": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert (1, "") == (run.returncode, run.stdout)
    assert "wrk, which makes the load, is not installed" in run.stderr
    assert "apt-get install wrk" in run.stderr


def _results(rates: dict[str, list[float]], rows: int = 1, p99: float = 1.0) -> Results:
    results = Results()
    for form, given in rates.items():
        for rate in given:
            load = Load(round(rate * 2), 2.0, 0.5, p99, {"refused": 0})
            results.add(Case(form, rows, figures.HIGHLIGHT), Seen(load, answering=1.2, beside=0.3, elsewhere=0.0))
    return results


def test_figures_are_medians_of_the_rounds() -> None:
    """One slow round, when the machine did something else, does not count."""
    found = _results({OURS: [4000, 400, 6000]}).figures(Case(OURS, 1, figures.HIGHLIGHT))
    assert (4000, 0.5, 1.0) == (found.rate, found.p50, found.p99)
    assert (pytest.approx(150), pytest.approx(37.5)) == (found.cpu, found.cpu_beside)  # 1.2 s and 0.3 s by 8,000


def _goal(results: Results, about: str) -> Goal:
    results.calls = {"100": {figures.SESSION: [1000.0, 10.0, 900.0]}}
    (found,) = (goal for goal in figures.goals(results) if about in goal.what)
    return found


@pytest.mark.parametrize(
    ("about", "rates", "rows", "got", "reached"),
    [
        ("no-op", {OURS: [7500], NO_OP: [10_000]}, 1, 0.75, True),
        ("no-op", {OURS: [7499], NO_OP: [10_000]}, 1, 0.7499, False),
        ("no-op", {OURS: [7499]}, 1, None, None),
        ("mlflow models serve", {OURS: [7500], SPLIT: [75], INPUTS: [900]}, 1, 100, True),
        ("mlflow models serve", {OURS: [7500], SPLIT: [76], INPUTS: [10]}, 1, 7500 / 76, False),
        ("LitServe", {OURS: [3000], LIT: [1000], LIT_BATCHING: [900]}, 1, 3, True),
        ("LitServe", {OURS: [3000], LIT: [900], LIT_BATCHING: [1200]}, 1, 2.5, False),
        ("bare session", {OURS: [720]}, 100, 0.8, True),
        ("bare session", {OURS: [710]}, 100, 710 / 900, False),
        ("bare session", {OURS: [720]}, 1, None, None),
    ],
)
def test_goals_are_ratios_of_requests_per_second(
    about: str, rates: dict[str, list[float]], rows: int, got: float | None, reached: bool | None
) -> None:
    """At the rows and connections that the goal names; what was not measured is neither reached nor missed."""
    goal = _goal(_results(rates, rows), about)
    assert (pytest.approx(got), reached) == (goal.got, goal.reached)


@pytest.mark.parametrize(("p99", "reached"), [(5.0, True), (5.001, False)])
def test_latency_is_to_be_low(p99: float, reached: bool) -> None:
    """The goal of latency is missed above it."""
    assert reached is _goal(_results({OURS: [1000]}, p99=p99), "p99").reached


STACKS = """\
<module> (/p/api/__main__.py:1);Runner.run (/lib/asyncio/runners.py:118) 10
Runner.run (/lib/asyncio/runners.py:118);Cycle.run_asgi (/lib/uvicorn/protocols/http/x.py:1);Cycle.send (/lib/uvicorn/protocols/http/x.py:2) 20
Runner.run (/lib/asyncio/runners.py:118);Batcher.answer (/p/ml_lifecycle/api/batcher.py:1);OnnxModel.predict (/p/ml_lifecycle/onnx_model.py:1);Session.run (/lib/onnxruntime/x.py:1) 40
Runner.run (/lib/asyncio/runners.py:118);Batcher.answer (/p/ml_lifecycle/api/batcher.py:1);compute (/p/ml_lifecycle/features.py:1);where (/lib/numpy/x.py:1) 20
Thread.run (/lib/threading.py:1);_worker (/lib/concurrent/futures/thread.py:81) 900
Thread.run (/lib/threading.py:1);Condition.wait (/lib/threading.py:331) 900
Thread.run (/lib/threading.py:1);other (/lib/other.py:1) 10
"""  # noqa: E501 - py-spy's form


def test_samples_are_added_up_by_part() -> None:
    """The innermost part of the service has the time, libraries below it included; threads that wait take none."""
    assert samples.shares(STACKS) == {
        "session": 0.4,
        "writing sockets": 0.2,
        "features": 0.2,
        "event loop, reading sockets": 0.1,
        samples.REST: 0.1,
    }


def _rows() -> Rows:
    table = pd.DataFrame({"row_key": list("abcdef"), "share": [0.1, np.nan, 0.3, 0.4, 0.5, 0.6], "carrier": "AA"})
    return Rows(small_model(), table)


def test_all_forms_ask_the_same(tmp_path: Path) -> None:
    """A body holds the values of its rows, missing ones as null, and as many rows as it should."""
    rows = _rows()
    asked: dict[str, Any] = {
        form.__name__: json.loads(rows.write(form, 3, tmp_path / "bodies").read_text().splitlines()[1])
        for form in (Rows.records, Rows.feature_records, Rows.inputs, Rows.dataframe_split)
    }
    shares = [None, 0.3, 0.4]
    assert [slice(start, start + 3) for start in range(4)] == rows.parts(3)
    assert [{"share": share, "carrier": "AA"} for share in shares] == asked["records"] == asked["feature_records"]
    assert {"share": shares, "carrier": ["AA"] * 3} == asked["inputs"]["inputs"]
    split = asked["dataframe_split"]["dataframe_split"]
    assert {"columns": ["share", "carrier"], "data": [[share, "AA"] for share in shares]} == split


def test_one_row_is_one_record_and_bodies_differ(tmp_path: Path) -> None:
    """A single record is no list; each row is asked for."""
    lines = _rows().write(Rows.records, 1, tmp_path / "bodies").read_text().splitlines()
    assert [0.1, None, 0.3, 0.4, 0.5, 0.6] == [json.loads(line)["share"] for line in lines]


def test_numbers_arrive_as_they_were() -> None:
    """Features are float32: what stands in a body is the same number again, in as few digits as that takes."""
    rows = _rows()
    sent = rows.inputs(slice(0, 6))["inputs"]["share"]
    assert rows.features["share"].dtype == np.float32
    assert np.array_equal(np.array(sent, dtype=np.float32), rows.features["share"], equal_nan=True)
    assert sent[0] == 0.1


def _no_op(*forms: Form, app: str = "benchmarks.serving_peers.no_op:app") -> Service:
    command = [sys.executable, "-m", "uvicorn", app, "--port", PORT, "--log-level", "warning"]
    return Service("no-op", command, "/ready", forms)


def test_a_service_is_started_asked_and_stopped(tmp_path: Path) -> None:
    """It is there until the end, with what it takes; and an answer that is not the model's is refused."""
    unread = Form("no-op", "/predict", Rows.records, None)
    wrong = Form("wrong", "/predict", Rows.records, lambda _: [0.25])
    short = Form("short", "/predict", Rows.records, lambda _: [0.1, 0.1])
    nowhere = Form("nowhere", "/elsewhere", Rows.records, None)
    rows = Rows(small_model(), pd.DataFrame({"row_key": ["a", "b", "c"], "share": 0.1, "carrier": "AA"}))
    with _no_op(unread).running(tmp_path, PROJECT) as server:
        assert {"ok": True} == server.ask(unread, {})
        server.check(unread, rows, 1)
        server.check(Form("right", "/predict", Rows.records, lambda _: [0.1]), rows, 1)
        for form in (wrong, short):
            with pytest.raises(SystemExit, match="they do not do the same work"):
                server.check(form, rows, 1)
        with pytest.raises(SystemExit, match="The service 'no-op' answered 404"):
            server.check(nowhere, rows, 1)
        (pid,) = server.cpu_seconds()
        assert server.process.pid == pid == server.answering({})
        assert server.cpu_seconds()[pid] > 0
        assert all(size > 10 for size in server.memory().values())
        assert 0 < server.seconds < START_SECONDS
    assert not server.process.is_running()


def test_a_service_that_does_not_start_is_told_with_its_log(tmp_path: Path) -> None:
    """Nothing waits for a process that has ended."""
    start = time.monotonic()
    with (
        pytest.raises(SystemExit, match=r"The service 'no-op' did not get ready. It said:\n[^$]*nothing_here"),
        _no_op(app="nothing_here:app").running(tmp_path, PROJECT),
    ):
        raise AssertionError
    assert time.monotonic() - start < START_SECONDS / 2
