"""Before any node runs."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from kedro.framework.project import settings
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro_datasets.pandas import CSVDataset

from ml_lifecycle.errors import ProvenanceError, RawInputError
from ml_lifecycle.hooks import OriginHook
from ml_lifecycle.hooks.origin import RAW_INPUTS, RUN_RECORD
from project_copy import ProjectCopy

pytestmark = pytest.mark.filterwarnings("default")  # of third parties; test_lifecycle.py tests that a user sees none

RAW = {"kedro-viz": {"layer": "raw"}}
RUN_PARAMS = {"env": None, "pipeline_names": None, "runtime_params": None}


def read(table: pd.DataFrame, seed: int) -> int:
    """Stand for a node."""
    return len(table) + seed


READING = Pipeline([Node(read, ["orders", "params:seed"], "rows", name="read")])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> ProjectCopy:
    """Make a project with one raw table under DVC."""
    project = ProjectCopy(tmp_path_factory.mktemp("hooks") / "project")
    (project.path / "requirements").mkdir(parents=True)
    (project.path / "requirements/run.txt").write_text("numpy==2.4.0\n", encoding="utf-8")
    (project.path / "orders.csv").write_text("a\n1\n", encoding="utf-8")
    for environment in ("base", "local", "test"):
        (project.path / "conf" / environment).mkdir(parents=True)
    (project.path / "conf/base/parameters.yml").write_text("seed: 1\n", encoding="utf-8")
    (project.path / ".gitignore").write_text("/conf/local/*\n", encoding="utf-8")
    project.run("git", "init", "--quiet")
    project.run("dvc", "init", "--quiet")
    project.run("dvc", "add", "--quiet", "orders.csv")
    project.commit()
    return project


@pytest.fixture
def project(prepared: ProjectCopy, tmp_path: Path) -> Path:
    """Return a copy of one's own of the project."""
    return Path(shutil.copytree(prepared.path, tmp_path / "project"))


def catalog_with(orders: Any) -> DataCatalog:
    """Make a catalog with the table."""
    return DataCatalog({"orders": orders, "params:seed": MemoryDataset(1)})


def started(project: Path, catalog: DataCatalog, pipeline: Pipeline = READING, **run_params: Any) -> DataCatalog:
    """Let the hook prepare a run; return the catalog."""
    hook, asked = OriginHook(), {**RUN_PARAMS, **run_params}
    loader = settings.CONFIG_LOADER_CLASS(
        str(project / "conf"), env=asked["env"], runtime_params=asked["runtime_params"], **settings.CONFIG_LOADER_ARGS
    )
    hook.after_context_created(SimpleNamespace(project_path=project, config_loader=loader))
    hook.before_pipeline_run(run_params=asked, pipeline=pipeline, catalog=catalog)
    return catalog


def raw_table(project: Path) -> CSVDataset:
    """Place the table in the layer `raw`."""
    return CSVDataset(filepath=str(project / "orders.csv"), metadata=RAW)


def test_hands_on_verified_raw_inputs(project: Path) -> None:
    """Nodes can ask for path, hash and size of each raw input."""
    catalog = started(project, catalog_with(raw_table(project)))
    expected = {"orders": {"path": "orders.csv", "md5": "34ff2335cbe2045ddc3b78993d1e971d", "size": 4}}
    assert expected == catalog.load(RAW_INPUTS)


def test_hands_on_the_record_of_the_run(project: Path) -> None:
    """Nodes can ask what the run is made of; the pipelines stand in one order, whatever the hash seed."""
    record = started(project, catalog_with(raw_table(project)), env="test", pipeline_names=["b", "a"]).load(RUN_RECORD)
    assert ("test", ["a", "b"], {"seed": 1}) == (record.kedro_environment, record.pipelines, record.parameters)


def test_names_the_defaults(project: Path) -> None:
    """A run without environment and pipeline is one of `base` and `__default__`."""
    record = started(project, catalog_with(raw_table(project))).load(RUN_RECORD)
    assert ("base", ["__default__"]) == (record.kedro_environment, record.pipelines)


@pytest.mark.parametrize(("given", "noted"), [(None, {}), ({}, {}), ({"seed": 7}, {"seed": 7})])
def test_notes_what_the_command_line_gave(project: Path, given: Any, noted: Any) -> None:
    """The parameters of the command line stand in the record, apart from all that are in effect."""
    record = started(project, DataCatalog(), Pipeline([]), runtime_params=given).load(RUN_RECORD)
    assert (noted, {"seed": 1} | noted) == (record.runtime_parameters, record.parameters)


def test_notes_what_conf_local_gave(project: Path) -> None:
    """Git ignores conf/local, so what it gives stands in the record as well; other environments do not read it."""
    (project / "conf/local/parameters.yml").write_text("seed: 3\nmine: {deep: 1}\n", encoding="utf-8")
    record = started(project, DataCatalog(), Pipeline([]), runtime_params={"other": 2}).load(RUN_RECORD)
    assert {"seed": 3, "mine": {"deep": 1}, "other": 2} == record.runtime_parameters
    assert not record.git.dirty
    of_test = started(project, DataCatalog(), Pipeline([]), env="test").load(RUN_RECORD)
    assert ({}, {"seed": 1}) == (of_test.runtime_parameters, of_test.parameters)


def test_refuses_a_changed_raw_input(project: Path) -> None:
    """A raw table that differs from its record stops the run."""
    (project / "orders.csv").write_text("a\n2\n", encoding="utf-8")
    with pytest.raises(RawInputError, match=r"'orders' \(orders\.csv\) has changed"):
        started(project, catalog_with(raw_table(project)))


def test_ignores_changes_of_other_layers(project: Path) -> None:
    """A dataset that is not raw is not DVC's business."""
    (project / "orders.csv").write_text("a\n2\n", encoding="utf-8")
    primary = CSVDataset(filepath=str(project / "orders.csv"), metadata={"kedro-viz": {"layer": "primary"}})
    assert started(project, catalog_with(primary)).load(RAW_INPUTS) == {}


def test_ignores_raw_inputs_that_the_run_does_not_read(project: Path) -> None:
    """A raw table that no node of the run reads is not checked."""
    (project / "orders.csv").write_text("a\n2\n", encoding="utf-8")
    assert started(project, catalog_with(raw_table(project)), Pipeline([])).load(RAW_INPUTS) == {}


def test_refuses_raw_inputs_elsewhere(project: Path) -> None:
    """A raw table on an object store, where DVC cannot check it, is refused with where to keep it."""
    remote = CSVDataset(filepath="memory://bucket/orders.csv", metadata=RAW)
    with pytest.raises(
        RawInputError, match=r"'orders' lies on 'memory', where DVC cannot check it.*local files under DVC"
    ):
        started(project, catalog_with(remote))


def test_refuses_code_without_commit(project: Path) -> None:
    """A run whose code cannot be named does not start."""
    shutil.rmtree(project / ".git")
    with pytest.raises(ProvenanceError, match="cannot be determined"):
        started(project, DataCatalog(), Pipeline([]))
