"""Reproductions: what the code of another commit may know, where it may write, and how rows become a verdict."""

import dataclasses
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from ml_lifecycle.errors import ReproductionError
from ml_lifecycle.gate import Answer
from ml_lifecycle.model_folder import ModelFolder
from ml_lifecycle.provenance.record import CHANGES, RunRecord
from ml_lifecycle.reproduction.configuration import configure
from ml_lifecycle.reproduction.outcome import Row, verdict
from ml_lifecycle.reproduction.place import ENVIRONMENT, Place
from ml_lifecycle.reproduction.reproduction import HANDED_ON, OF_STORE, TRAINED
from ml_lifecycle.reproduction.store import store_of
from ml_lifecycle.reproduction.virtual_environment import INSTALLING, interpreter
from ml_lifecycle.reproduction.worktree import check_out
from project_copy import PROJECT

FILES = ("parameters.yml", "mlflow.yml")
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
    place = Place(Path("tree"), run_record, Path("tree/.venv"), [], [], [])
    assert name not in place.variables()
    assert (name == "AWS_SECRET_ACCESS_KEY") == (name in place.variables(OF_STORE))
    assert (name == "UV_INDEX_PASSWORD") == (name in place.variables(INSTALLING))


def test_the_environment_comes_first(run_record: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs come from the environment of the reproduction, the code from its worktree."""
    monkeypatch.setenv("PYTHONPATH", "mine")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    variables = Place(Path("tree"), run_record, Path("other/.venv"), [], [], []).variables()
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


@dataclass(frozen=True)
class Worktree:
    """A place with code and configuration of this project, whose run had the environment `mine`."""

    place: Place

    def write(self, file: str, content: dict[str, Any]) -> None:
        """Add to that environment."""
        path = self.place.tree / "conf/mine" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content), encoding="utf-8")

    def configure(self, **changes: Any) -> dict[str, Any]:
        """Configure the place; return what a run in it would be told, and what it would write."""
        place = dataclasses.replace(self.place, **changes)
        configure(place, PROJECT)
        return place.take_inventory(ENVIRONMENT)


def new_worktree(run_record: RunRecord, folder: Path) -> Worktree:
    """Make a place that is ready to be configured."""
    tree = folder / "run"
    shutil.copytree(PROJECT / "conf", tree / "conf", ignore=shutil.ignore_patterns("local"))
    shutil.copytree(PROJECT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(PROJECT / "pyproject.toml", tree / "pyproject.toml")
    (tree / "conf/mine").mkdir()
    run = run_record.model_copy(update={"kedro_environment": "mine"})
    return Worktree(Place(tree, run, Path(sys.prefix), ["training"], TRAINED, HANDED_ON))


@pytest.fixture
def worktree(run_record: RunRecord, tmp_path: Path) -> Worktree:
    """Return a place that is ready to be configured."""
    return new_worktree(run_record, tmp_path)


PATHS = {
    "models": "/srv/models",
    "reporting": "../reporting",
    "model_input": "s3://team/model_input",
    "model_output": "${in_project:build/mine}",
    "raw": str(PROJECT / "data/raw"),
    "history": "/srv/only/read",
    "none": None,
    "nested": {"folder": "data/nested"},
}


@pytest.fixture(scope="class")
def configured(run_record: RunRecord, tmp_path_factory: pytest.TempPathFactory) -> tuple[Worktree, dict[str, Any]]:
    """Return a place that is configured, with paths of every kind, and what a run in it would be told and write."""
    worktree = new_worktree(run_record, tmp_path_factory.mktemp("configured"))
    store = {"hold": "s3://team/hold.json", "ledger": "s3://team/ledger.json"}
    told = {"paths": PATHS, "registry": {"model": "another"}, "country": "US", "store": store}
    worktree.write("globals.yml", told)
    worktree.write("parameters.yml", {"seed": 5})
    return worktree, worktree.configure()


class TestConfiguration:
    """Where a reproduction writes, and with which parameters."""

    def test_paths_stay_in_the_worktree(self, configured: tuple[Worktree, dict[str, Any]]) -> None:
        """A path that is written and leads out of the project becomes one of the worktree; all others stay."""
        worktree, found = configured
        told = found["globals"]
        assert {
            **PATHS,
            "models": "build/reproduced/models",
            "reporting": "build/reproduced/reporting",
            "model_input": "build/reproduced/model_input",
            "model_output": str(worktree.place.tree / "build/mine"),
            "raw": "data/raw",  # a path of the caller's project: in the worktree the recorded raw data are restored
            "feature": "data/04_feature",
        }.items() <= told["paths"].items()
        assert ("another", "US", "build/reproduced/history") == (
            told["registry"]["model"],
            told["country"],
            told["registry"]["history"],
        )
        assert "build/reproduced/models/model.onnx" == found["written"]["onnx_model"]["filepath"]
        assert "build/reproduced/model_input/model_input.parquet" == found["written"]["model_input"]["filepath"]

    def test_the_recorded_parameters(self, configured: tuple[Worktree, dict[str, Any]]) -> None:
        """Not those of the files; and runs and locks are the worktree's own."""
        place, found = configured[0].place, configured[1]
        assert {"credentials": None, "hold": None, "ledger": None} == found["globals"]["store"]
        written = {name: yaml.safe_load((place.conf / name).read_text(encoding="utf-8")) for name in FILES}
        assert place.run.parameters == written["parameters.yml"]
        assert f"sqlite:///{place.tree}/mlflow.db" == written["mlflow.yml"]["server"]["mlflow_tracking_uri"]

    def test_another_store_gets_a_folder_of_its_own(self, worktree: Worktree, monkeypatch: pytest.MonkeyPatch) -> None:
        """What an environment has in its bucket is not touched; raw data stay files; keys are no part of the files."""
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        OmegaConf.clear_resolver("oc.env")  # as Kedro leaves it
        store = store_of(PROJECT, "minio", "reproduce/1-ab")
        found = worktree.configure(store=store)
        assert "s3://ml-data/reproduce/1-ab/06_models/model.onnx" == found["written"]["onnx_model"]["filepath"]
        assert "data/01_raw" == found["globals"]["paths"]["raw"]
        assert "object_store" == found["globals"]["store"]["credentials"]
        assert "127.0.0.1" not in (worktree.place.conf / "credentials.yml").read_text(encoding="utf-8")
        assert ("http://127.0.0.1:9", False) == (store.options["key"], "127.0.0.1" in str(store))

    def test_another_store_without_its_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is not set is named before anything is done."""
        monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
        with pytest.raises(ReproductionError, match=r"'minio' cannot be opened: .*AWS_ACCESS_KEY_ID.* `make env`"):
            store_of(PROJECT, "minio", "reproduce/1-ab")

    def test_datasets_written_elsewhere_are_refused(self, worktree: Worktree) -> None:
        """A catalog that names addresses of its own, in any shape, would be written to: all of them are named."""
        json = "json.JSONDataset"
        deep = {"type": "kedro.io.CachedDataset", "dataset": {"type": json, "filepath": "/srv/deep.json"}}
        elsewhere: dict[str, tuple[dict[str, Any], str]] = {
            "evaluation": ({"type": json, "filepath": "/srv/own.json"}, "/srv/own.json"),
            "training_record": ({"type": json, "filepath": "../own.json"}, "../own.json"),
            "table_roles": ({"type": json, "filepath": "s3://team/own.json"}, "s3://team/own.json"),
            "data_report": ({"type": "partitions.PartitionedDataset", "path": "/srv/own", "dataset": json}, "/srv/own"),
            "data_record": (
                {"type": "kedro_mlflow.io.artifacts.MlflowArtifactDataset", "dataset": deep},
                "/srv/deep.json",
            ),
            "model_input": (
                {"type": "pandas.SQLTableDataset", "table_name": "own", "credentials": "shop"},
                "pandas.SQLTableDataset",
            ),
        }
        worktree.write("catalog/own.yaml", {name: entry for name, (entry, _) in elsewhere.items()})
        with pytest.raises(ReproductionError, match="would write outside of the reproduction: ") as error:
            worktree.configure()
        named = re.findall(r"'(\w+)' \(([^)]+)\)", error.value.message)
        assert sorted((name, address) for name, (_, address) in elsewhere.items()) == sorted(named)

    def test_a_pattern_that_leads_elsewhere_is_refused(self, worktree: Worktree) -> None:
        """Also where the catalog names no dataset, but a pattern of names."""
        base = worktree.place.tree / "conf/base/catalog_training.yml"
        base.write_text(base.read_text(encoding="utf-8").replace("\nevaluation:", "\nunused:"), encoding="utf-8")
        worktree.write("catalog.yml", {"eval{rest}": {"type": "json.JSONDataset", "filepath": "/srv/{rest}.json"}})
        with pytest.raises(ReproductionError, match=r"'evaluation' \(/srv/uation\.json\)"):
            worktree.configure()

    def test_what_is_only_read_may_lie_elsewhere(self, worktree: Worktree) -> None:
        """A table that the run reads, and one that another run writes, are nobody's loss."""
        entry = {"type": "pandas.CSVDataset", "filepath": "https://example.org/airlines.csv"}
        worktree.write("catalog.yml", {"airlines": entry, "predictions": {**entry, "filepath": "/srv/predictions.csv"}})
        written = worktree.configure(pipelines=["data_engineering"], outputs=HANDED_ON, given=[])["written"]
        assert {*HANDED_ON} <= set(written)
        assert {"airlines", "predictions"}.isdisjoint(written)

    def test_a_configuration_that_cannot_be_read(self, worktree: Worktree) -> None:
        """It cannot be decided, and the reason is told."""
        worktree.write("globals.yml", {"paths": {"models": "${globals:nowhere}"}})
        with pytest.raises(ReproductionError, match=r"inventory\.py .* failed: .*full_key: paths\.models"):
            worktree.configure()

    def test_a_versioned_result(self, worktree: Worktree) -> None:
        """Its file cannot be told, so it cannot be compared."""
        entry = {"type": "json.JSONDataset", "filepath": "${globals:paths.reporting}/e.json", "versioned": True}
        worktree.write("catalog.yml", {"evaluation": entry})
        with pytest.raises(ReproductionError, match="'evaluation' cannot be compared"):
            worktree.configure()


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
        run = run_record.model_copy(update={"git": state})
        place = Place(tmp_path / "tree", run, tmp_path / "tree/.venv", [], [], [])
        with pytest.raises(ReproductionError, match=rf"{'c0' * 20} is not in this repository\. Fetch it \(`{told}`\)"):
            check_out(clone, ModelFolder(tmp_path), place, CHANGES)
        assert not place.tree.exists()
