"""Reproductions: what the code of another commit may know, where it may write, and how rows become a verdict."""

import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.framework.project import configure_project

from ml_lifecycle.gate import Answer
from ml_lifecycle.model_folder import ModelFolder
from ml_lifecycle.provenance.record import CHANGES, RunRecord
from ml_lifecycle.reproduction.configuration import configure
from ml_lifecycle.reproduction.environment import INSTALLING, interpreter
from ml_lifecycle.reproduction.job import OF_STORE
from ml_lifecycle.reproduction.outcome import Row, verdict
from ml_lifecycle.reproduction.place import ENVIRONMENT, Place, ReproductionError
from ml_lifecycle.reproduction.worktree import check_out
from project_copy import PROJECT

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
    assert (name == "AWS_SECRET_ACCESS_KEY") == (name in place.variables(OF_STORE))
    assert (name == "UV_INDEX_PASSWORD") == (name in place.variables(INSTALLING))


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


@pytest.fixture
def configured(run_record: RunRecord, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function: configure a place whose run had an environment with these files; what it is told then."""

    def run(on: str, **files: dict[str, Any]) -> dict[str, Any]:
        configure_project("ml_lifecycle")
        shutil.copytree(PROJECT / "conf", tmp_path / "conf", ignore=shutil.ignore_patterns("local"))
        (tmp_path / "conf/mine").mkdir()
        for name, content in files.items():
            (tmp_path / f"conf/mine/{name}.yml").write_text(yaml.safe_dump(content), encoding="utf-8")
        place = Place(tmp_path, run_record.model_copy(update={"kedro_environment": "mine"}), tmp_path / ".venv")
        configure(place, on, "reproduce/1-ab")
        told: dict[str, Any] = place.loader(ENVIRONMENT)["globals"]
        return {**told, "parameters": place.loader(ENVIRONMENT)["parameters"]}

    return run


class TestConfiguration:
    """Where a reproduction writes, and with which parameters."""

    def test_paths_stay_in_the_worktree(self, configured: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
        """A path of the environment that leads out of its project becomes one of the worktree; others stay."""
        paths = {"models": "/srv/models", "reporting": "../reporting", "feature": "data/mine"}
        mine = {"paths": {**paths, "model_output": "${in_project:build/mine}"}, "registry": {"model": "another"}}
        found = configured("base", globals=mine)
        assert {
            "models": "build/reproduced/models",
            "reporting": "build/reproduced/reporting",
            "feature": "data/mine",
            "model_output": str(tmp_path / "build/mine"),
            "raw": "data/01_raw",
        }.items() <= found["paths"].items()
        assert ("another", 1) == (found["registry"]["model"], found["parameters"]["seed"])

    def test_another_store_gets_a_folder_of_its_own(
        self, configured: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What an environment has in its bucket is not touched; raw data stay files."""
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        found = configured("minio")
        assert "s3://ml-data/reproduce/1-ab/06_models" == found["paths"]["models"]
        assert "data/01_raw" == found["paths"]["raw"]
        assert ("object_store", None) == (found["store"]["credentials"], found["store"]["ledger"])

    @pytest.mark.parametrize("address", ["/srv/model.onnx", "../model.onnx", "s3://ml-data/06_models/model.onnx"])
    def test_a_dataset_elsewhere_is_refused(self, configured: Callable[..., dict[str, Any]], address: str) -> None:
        """A catalog that names an address of its own would be written to."""
        catalog = {"mine": {"type": "pandas.CSVDataset", "filepath": address}}
        with pytest.raises(ReproductionError, match=r"would write outside of the reproduction: 'mine' \(") as caught:
            configured("base", catalog=catalog)
        assert address in caught.value.message


class TestWorktree:
    """The commit of a version."""

    @pytest.mark.parametrize(("depth", "told"), [((), "git fetch --all"), (("--depth", "1"), "git fetch --unshallow")])
    def test_a_commit_that_is_not_here(
        self, run_record: RunRecord, tmp_path: Path, depth: tuple[str, ...], told: str
    ) -> None:
        """How to get it depends on whether the clone is shallow."""
        commit = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "commit", "--quiet", "--allow-empty")
        commands = [("init", "--quiet"), *[(*commit, "--message", "Change")] * 2]
        for command in commands:
            subprocess.check_call(["git", "-C", str(tmp_path), *command])
        clone = tmp_path / "clone"
        subprocess.check_call(["git", "clone", "--quiet", *depth, f"file://{tmp_path}", str(clone)])
        state = run_record.git.model_copy(update={"commit": "c0" * 20})
        place = Place(tmp_path / "tree", run_record.model_copy(update={"git": state}), tmp_path / "tree/.venv")
        with pytest.raises(ReproductionError, match=rf"{'c0' * 20} is not in this repository\. Fetch it \(`{told}`\)"):
            check_out(clone, ModelFolder(tmp_path), place, CHANGES)
        assert not place.tree.exists()
