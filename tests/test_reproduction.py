"""Reproductions: what the code of another commit may know, where it may write, and how rows become a verdict."""

import dataclasses
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import s3fs
import yaml
from omegaconf import OmegaConf

from ml_lifecycle.gate import Answer
from ml_lifecycle.model_folder import ModelFolder
from ml_lifecycle.provenance import git
from ml_lifecycle.provenance.record import CHANGES, RunRecord
from ml_lifecycle.reproduction.configuration import configure, own_folders, refuse_unknown_store
from ml_lifecycle.reproduction.outcome import Row, verdict
from ml_lifecycle.reproduction.place import ENVIRONMENT, Place, ReproductionError
from ml_lifecycle.reproduction.reproduction import HANDED_ON, OF_STORE, TRAINED, Reproduction
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
class Configured:
    """A reproduction of a run in the environment `mine`, whose place has code and configuration of this project."""

    job: Reproduction
    place: Place

    @property
    def mine(self) -> Path:
        """The environment that the run had."""
        return self.place.tree / "conf/mine"

    def write(self, file: str, content: dict[str, Any]) -> None:
        """Add to the environment that the run had."""
        (self.mine / file).parent.mkdir(parents=True, exist_ok=True)
        (self.mine / file).write_text(yaml.safe_dump(content), encoding="utf-8")

    def configure(self, on: str = "base") -> dict[str, Any]:
        """Configure the place; return what a run in it would be told."""
        configure(self.place, PROJECT, on, self.job.own)
        return self.place.take_inventory(ENVIRONMENT)

    def addresses(self, on: str = "base") -> dict[str, str]:
        """Where a run would write."""
        written = self.configure(on)["written"]
        return {name: entry["filepath"] for name, entry in written.items() if "filepath" in entry}


@pytest.fixture
def configured(run_record: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configured:
    """Return a reproduction that is ready to be configured."""
    project, root = tmp_path / "project", tmp_path / "project/build/reproduce/1-ab"
    tree = root / "run"
    shutil.copytree(PROJECT / "conf", tree / "conf", ignore=shutil.ignore_patterns("local"))
    shutil.copytree(PROJECT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(PROJECT / "pyproject.toml", tree / "pyproject.toml")
    (tree / "conf/mine").mkdir()
    run = run_record.model_copy(update={"kedro_environment": "mine"})
    place = Place(tree, run, Path(sys.prefix), ["training"], TRAINED, HANDED_ON)
    job = Reproduction(project, ModelFolder(tmp_path / "folder"), root)
    monkeypatch.setattr(Reproduction, "places", lambda self: [place])
    monkeypatch.setattr(git, "remove_worktree", lambda project, folder: None)
    return Configured(job, place)


class TestConfiguration:
    """Where a reproduction writes, and with which parameters."""

    def test_paths_stay_in_the_worktree(self, configured: Configured) -> None:
        """A path that is written and leads out of the project becomes one of the worktree; all others stay."""
        paths = {
            "models": "/srv/models",
            "reporting": "../reporting",
            "model_input": "s3://team/model_input",
            "model_output": "${in_project:build/mine}",
            "raw": "/srv/only/read",
            "none": None,
            "nested": {"folder": "data/nested"},
        }
        configured.write("globals.yml", {"paths": paths, "registry": {"model": "another"}, "country": "US"})
        found = configured.configure()
        told, tree = found["globals"], configured.place.tree
        assert {
            **paths,
            "models": "build/reproduced/models",
            "reporting": "build/reproduced/reporting",
            "model_input": "build/reproduced/model_input",
            "model_output": str(tree / "build/mine"),
            "feature": "data/04_feature",
        }.items() <= told["paths"].items()
        assert ("another", "US", "build/reproduced/history") == (
            told["registry"]["model"],
            told["country"],
            told["registry"]["history"],
        )
        assert "build/reproduced/models/model.onnx" == found["written"]["onnx_model"]["filepath"]
        assert "build/reproduced/model_input/model_input.parquet" == found["written"]["model_input"]["filepath"]

    def test_paths_of_the_callers_project_are_those_of_the_worktree(self, configured: Configured) -> None:
        """There the raw data of the record are restored."""
        configured.write("globals.yml", {"paths": {"raw": str(PROJECT / "data/raw")}})
        assert "data/raw" == configured.configure()["globals"]["paths"]["raw"]

    def test_the_recorded_parameters(self, configured: Configured) -> None:
        """Not those of the files; and runs and locks are the worktree's own."""
        configured.write("parameters.yml", {"seed": 5})
        configured.write("globals.yml", {"store": {"hold": "s3://team/hold.json", "ledger": "s3://team/ledger.json"}})
        told = configured.configure()["globals"]
        assert {"credentials": None, "hold": None, "ledger": None} == told["store"]
        written = {name: yaml.safe_load((configured.place.conf / name).read_text()) for name in FILES}
        assert configured.place.run.parameters == written["parameters.yml"]
        uri = written["mlflow.yml"]["server"]["mlflow_tracking_uri"]
        assert f"sqlite:///{configured.place.tree}/mlflow.db" == uri

    def test_another_store_gets_a_folder_of_its_own(
        self, configured: Configured, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What an environment has in its bucket is not touched; raw data stay files; keys are no part of the files."""
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        OmegaConf.clear_resolver("oc.env")  # as Kedro leaves it
        found = configured.configure("minio")
        assert "s3://ml-data/reproduce/1-ab/06_models/model.onnx" == found["written"]["onnx_model"]["filepath"]
        assert "data/01_raw" == found["globals"]["paths"]["raw"]
        assert "object_store" == found["globals"]["store"]["credentials"]
        assert "127.0.0.1" not in (configured.place.conf / "credentials.yml").read_text(encoding="utf-8")
        assert "http://127.0.0.1:9" == configured.place.credentials["key"]
        assert {"s3://ml-data/reproduce/1-ab"} == own_folders(configured.place, configured.job.own)

    def test_another_store_without_its_variables(self, configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is not set is named before anything is done."""
        monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
        with pytest.raises(ReproductionError, match=r"'minio' cannot be opened: .*AWS_ACCESS_KEY_ID.* \.env\.example"):
            refuse_unknown_store(PROJECT, "minio")

    @pytest.mark.parametrize(
        ("entry", "named"),
        [
            ({"type": "json.JSONDataset", "filepath": "/srv/own.json"}, "/srv/own.json"),
            ({"type": "json.JSONDataset", "filepath": "../own.json"}, "../own.json"),
            ({"type": "json.JSONDataset", "filepath": "s3://team/own.json"}, "s3://team/own.json"),
            ({"type": "partitions.PartitionedDataset", "path": "/srv/own", "dataset": "json.JSONDataset"}, "/srv/own"),
            (
                {
                    "type": "kedro_mlflow.io.artifacts.MlflowArtifactDataset",
                    "dataset": {
                        "type": "kedro.io.CachedDataset",
                        "dataset": {"type": "json.JSONDataset", "filepath": "/srv/own.json"},
                    },
                },
                "/srv/own.json",
            ),
            ({"type": "pandas.SQLTableDataset", "table_name": "own", "credentials": "shop"}, "pandas.SQLTableDataset"),
        ],
    )
    def test_a_dataset_written_elsewhere_is_refused(
        self, configured: Configured, entry: dict[str, Any], named: str
    ) -> None:
        """A catalog that names an address of its own, in any shape, would be written to."""
        configured.write("catalog/own.yaml", {"evaluation": entry})
        with pytest.raises(
            ReproductionError, match=r"would write outside of the reproduction: 'evaluation' \("
        ) as error:
            configured.configure()
        assert f"'evaluation' ({named})" in error.value.message

    def test_a_pattern_that_leads_elsewhere_is_refused(self, configured: Configured) -> None:
        """Also where the catalog names no dataset, but a pattern of names."""
        base = configured.place.tree / "conf/base/catalog_training.yml"
        base.write_text(base.read_text(encoding="utf-8").replace("\nevaluation:", "\nunused:"), encoding="utf-8")
        configured.write("catalog.yml", {"eval{rest}": {"type": "json.JSONDataset", "filepath": "/srv/{rest}.json"}})
        with pytest.raises(ReproductionError, match=r"'evaluation' \(/srv/uation\.json\)"):
            configured.configure()

    def test_what_is_only_read_may_lie_elsewhere(self, configured: Configured) -> None:
        """Tables that the run reads, and datasets of other runs, are nobody's loss."""
        entry = {"type": "pandas.CSVDataset", "filepath": "https://example.org/holidays.csv"}
        configured.write("catalog.yml", {"holidays": entry, "predictions": {**entry, "filepath": "/srv/p.csv"}})
        assert "holidays" not in configured.addresses()

    def test_a_configuration_that_cannot_be_read(self, configured: Configured) -> None:
        """It cannot be decided, and the reason is told."""
        configured.write("globals.yml", {"paths": {"models": "${globals:nowhere}"}})
        with pytest.raises(ReproductionError, match=r"inventory\.py .* failed: .*full_key: paths\.models"):
            configured.configure()

    def test_a_refusal_removes_nothing(self, configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
        """What lies elsewhere survives the clean-up."""
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        table = configured.job.project / "shared/model_input.parquet"
        table.parent.mkdir()
        table.write_bytes(b"table")
        configured.write("catalog.yml", {"model_input": {"type": "pandas.ParquetDataset", "filepath": str(table)}})
        job = dataclasses.replace(configured.job, on="minio", say=lambda _: None)
        with pytest.raises(ReproductionError, match="would write outside of the reproduction: 'model_input'"):
            configured.configure("minio")
        removed: list[str] = []
        monkeypatch.setattr(s3fs.S3FileSystem, "rm", lambda self, path, **options: removed.append(path))
        job.clean_up()
        assert (b"table", ["ml-data/reproduce/1-ab"]) == (table.read_bytes(), removed)
        assert not job.root.exists()

    def test_a_versioned_result(self, configured: Configured) -> None:
        """Its file cannot be told, so it cannot be compared."""
        entry = {"type": "json.JSONDataset", "filepath": "${globals:paths.reporting}/e.json", "versioned": True}
        configured.write("catalog.yml", {"evaluation": entry})
        with pytest.raises(ReproductionError, match="'evaluation' cannot be compared"):
            configured.configure()


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
