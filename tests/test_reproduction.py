"""Reproductions: what the code of another commit may know, and how rows become a verdict."""

import platform
from pathlib import Path

import pytest

from ml_lifecycle.gate import Answer
from ml_lifecycle.provenance.record import RunRecord
from ml_lifecycle.reproduction import _INSTALLING, _OF_STORE, Place, ReproductionError, Row, interpreter, verdict

SECRETS = (
    *("MODEL_SIGNING_KEY", "MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "GITHUB_PAT"),
    *("SERVING_ACCESS_KEY_ID", "DATABASE_URL", "SSH_AUTH_SOCK", "UV_INDEX_PASSWORD"),
)


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_reaches_the_code_of_another_commit(
    name: str, run_record: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of a reproduction know nothing that is not needed; the store's keys only if it writes there."""
    monkeypatch.setenv(name, "hidden")
    place = Place(Path("tree"), run_record, Path("tree/.venv"))
    assert name not in place.variables()
    assert (name == "AWS_SECRET_ACCESS_KEY") == (name in place.variables(_OF_STORE))
    assert (name == "UV_INDEX_PASSWORD") == (name in place.variables(_INSTALLING))


def test_the_environment_comes_first(run_record: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs come from the environment of the reproduction, the code from its worktree."""
    monkeypatch.setenv("PYTHONPATH", "mine")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    variables = Place(Path("tree"), run_record, Path("other/.venv")).variables()
    assert ("tree/src", True) == (variables["PYTHONPATH"], variables["PATH"].startswith("other/.venv/bin"))
    assert "http://127.0.0.1:1" == variables["HTTPS_PROXY"]


def test_interpreter_of_the_recorded_version() -> None:
    """This interpreter fits a record of its own minor version; another one may be named."""
    assert Path(interpreter(platform.python_version(), None)).exists()
    assert "elsewhere/python" == interpreter("3.1.0", "elsewhere/python")


def test_interpreter_that_is_missing() -> None:
    """Without a Python of the recorded minor version the error says which is needed, and how to name one."""
    with pytest.raises(ReproductionError, match=r"made with Python 3\.1\.0; .* no python3\.1 on the PATH.*--python"):
        interpreter("3.1.0", None)


@pytest.mark.parametrize(
    ("rows", "answer", "explanation"),
    [
        ([Row("model bytes", "a", "a")], Answer.YES, "equal: model bytes, probe answers, judge slice and row counts"),
        ([Row("a", "1", "1"), Row("b", "1", "2"), Row("c", "", "3")], Answer.NO, "not equal: b, c"),
    ],
)
def test_verdict(rows: list[Row], answer: Answer, explanation: str) -> None:
    """Equal only if every row is; otherwise what differs is named."""
    found = verdict(rows, "3.11.7")
    assert (answer, explanation) == (found.answer, found.explanation)
