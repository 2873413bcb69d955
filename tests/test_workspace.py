"""One environment of the project, as the commands about models see it."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest
from kedro.config import OmegaConfigLoader
from kedro.framework.context import KedroContext
from kedro.framework.project import configure_project
from kedro.io import DataCatalog, MemoryDataset
from kedro_datasets.pandas import CSVDataset

from dvc_consistency import PROJECT
from ml_lifecycle.errors import ConfigurationError, DataContractError, RegistryError
from ml_lifecycle.settings import CONFIG_LOADER_ARGS
from ml_lifecycle.signing.keys import SIGNING_KEY, VERIFYING_KEYS
from ml_lifecycle.workspace import Workspace
from mlflow_store import own_mlflow

pytestmark = pytest.mark.filterwarnings("default")  # of third parties; test_lifecycle.py tests that a user sees none

SETTINGS = """
CONFIG_LOADER_ARGS = {"base_env": "base", "default_run_env": "local"}
DISABLE_HOOKS_FOR_PLUGINS = ("kedro_mlflow", "kedro-telemetry", "kedro-viz")
"""
OPENED = """
import json
from kedro.framework.startup import bootstrap_project
from pathlib import Path
from ml_lifecycle.workspace import open_workspace
bootstrap_project(Path(PROJECT))
with open_workspace(ENVIRONMENT) as found:
    table = found.table("customers").to_dict("list")
    print(json.dumps([str(found.project), found.environment, found.parameters, table]))
"""


@dataclass
class Context:
    """What a workspace takes from Kedro's context."""

    config_loader: OmegaConfigLoader
    catalog: DataCatalog


Open = Callable[..., Workspace]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Open an environment with this project's configuration, but for keys, which are the test's."""
    for name in (SIGNING_KEY, VERIFYING_KEYS):
        monkeypatch.delenv(name, raising=False)
    conf = tmp_path / "conf"
    conf.mkdir()
    for folder in PROJECT.joinpath("conf").iterdir():
        if folder.is_dir() and folder.name != "local":
            (conf / folder.name).symlink_to(folder)
    (conf / "local").mkdir()

    def of(environment: str = "base", **datasets: Any) -> Workspace:
        loader = OmegaConfigLoader(conf_source=str(conf), env=environment, **CONFIG_LOADER_ARGS)
        loader["credentials"] = {"object_store": {"key": "someone", "secret": "secret"}}
        catalog = DataCatalog.from_config(loader["catalog"], loader["credentials"])
        for name, dataset in datasets.items():
            catalog[name] = dataset
        return Workspace(tmp_path, environment, cast("KedroContext", Context(loader, catalog)))

    return of


def test_tells_the_model_and_its_keys(opened: Open) -> None:
    """Name, keys and history are those of the catalog's entry."""
    workspace = opened()
    assert (workspace.model, workspace.keys.folder.name, workspace.keys.create) == ("flight_delay", ".keys", True)
    registrar = workspace.registrar
    assert (registrar.model, registrar.keys) == ("flight_delay", workspace.keys)
    assert registrar is workspace.registrar


def test_tells_what_the_gate_asks_for(opened: Open) -> None:
    """Gate, tolerance and parameters are read from the files."""
    workspace = opened()
    assert workspace.gate.model_dump(mode="json") == workspace.parameters["gate"]
    assert workspace.gate.clean_tree == ["production"]
    assert (workspace.circumstances.tolerance, workspace.parameters["seed"]) == (1e-5, 2013)


def test_another_environment_asks_for_other_things(opened: Open) -> None:
    """An environment's own parameters count."""
    assert opened("tabular").gate != opened().gate


def test_a_registry_that_is_none(opened: Open) -> None:
    """Without a registry in the catalog there is nothing to ask; the message says what is allowed."""
    workspace = opened(registered_model=MemoryDataset())
    for ask in (lambda: workspace.model, lambda: workspace.keys, lambda: workspace.registrar):
        with pytest.raises(ConfigurationError, match=r"'registered_model' is a MemoryDataset.*Allowed: .*Registered"):
            ask()


class TestPredictionLog:
    """Where the answers are."""

    def test_in_files(self, opened: Open, tmp_path: Path) -> None:
        """In files it lies in the project, from whichever folder a command is started."""
        assert opened().prediction_log == (str(tmp_path / "data/07_model_output/prediction_log"), None)

    def test_in_an_object_store(self, opened: Open) -> None:
        """In an object store it has an address, and is opened with the credentials of the store."""
        url, options = opened("minio").prediction_log
        assert (url.startswith("s3://"), url.endswith("/prediction_log")) == (True, True)
        assert options == {"key": "someone", "secret": "secret"}

    @pytest.mark.parametrize("environment", ["base", "minio", "test"])
    def test_is_where_serving_writes(self, opened: Open, environment: str) -> None:
        """It is the catalog's: what `trace` reads is what runs write."""
        workspace = opened(environment)
        entry = workspace.context.config_loader["catalog"]["prediction_log"]
        url = workspace.prediction_log[0]
        assert entry["path"] in (url, str(Path(url).relative_to(workspace.project)) if "://" not in url else url)


class TestTable:
    """Tables of the catalog."""

    def test_loads(self, opened: Open, tmp_path: Path) -> None:
        """A table comes as the catalog has it."""
        (tmp_path / "requests.csv").write_text("a,b\n1,2\n", encoding="utf-8")
        table = opened(requests=CSVDataset(filepath=str(tmp_path / "requests.csv"))).table("requests")
        pd.testing.assert_frame_equal(pd.DataFrame({"a": [1], "b": [2]}), table)

    def test_a_missing_one(self, opened: Open, tmp_path: Path) -> None:
        """A table that is not there is named, in one line, with what makes it."""
        workspace = opened(requests=CSVDataset(filepath=str(tmp_path / "none.csv")))
        with pytest.raises(DataContractError) as refused:
            workspace.table("requests")
        assert str(refused.value).startswith("the table 'requests' cannot be loaded: run data_engineering (")
        assert len(str(refused.value).splitlines()) == 1

    def test_an_unknown_one(self, opened: Open) -> None:
        """A name that the catalog does not have is refused."""
        with pytest.raises(DataContractError, match="the table 'nothing' cannot be loaded"):
            opened().table("nothing")


def test_reading_a_commit_does_not_change_what_holds_here(tmp_path: Path) -> None:
    """A bound that globals.yml has now and did not have at the commit is uncommitted, and is still the bound then."""
    configure_project("ml_lifecycle")
    base = tmp_path / "conf/base"
    base.mkdir(parents=True)
    (base / "parameters_gate.yml").write_text("gate: {floor: '${globals:floor}', share: 0.5}\n", encoding="utf-8")
    (base / "globals.yml").write_text("floor: 0.6\n", encoding="utf-8")
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    for command in (("init", "--quiet"), ("add", "."), (*identity, "commit", "--quiet", "--message", "Bounds")):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    (base / "globals.yml").write_text("floor: 0.1\n", encoding="utf-8")
    loader = OmegaConfigLoader(str(tmp_path / "conf"), env="base", **CONFIG_LOADER_ARGS)
    workspace = Workspace(tmp_path, "base", cast("KedroContext", Context(loader, DataCatalog())))
    assert ["gate.floor"] == workspace._uncommitted()
    assert {"gate": {"floor": 0.1, "share": 0.5}} == workspace.parameters


def test_finds_versions_of_its_model(opened: Open, tmp_path: Path) -> None:
    """Versions are found under the name that the catalog gives the model."""
    with own_mlflow(tmp_path) as client:
        client.create_registered_model("flight_delay")
        client.create_model_version("flight_delay", "s3://models/1")
        assert opened().find("1").number == "1"
        with pytest.raises(RegistryError, match=r"The model 'flight_delay' has no version '2'.*There are: 1 "):
            opened().find("2")


@pytest.mark.parametrize(("environment", "size"), [(None, 1), ("large", 2)])
def test_opens_the_project_around_the_current_folder(tmp_path: Path, environment: str | None, size: int) -> None:
    """From a folder inside a project, its configuration and its tables in an environment are found."""
    package = tmp_path / "src" / "small"
    pyproject = '[tool.kedro]\npackage_name = "small"\nproject_name = "small"\nkedro_init_version = "1.7.0"\n'
    files = {
        tmp_path / "pyproject.toml": pyproject,
        package / "__init__.py": "",
        package / "settings.py": SETTINGS,
        package / "pipeline_registry.py": "def register_pipelines():\n    return {}\n",
        tmp_path / "conf/base/parameters.yml": "size: 1\n",
        tmp_path / "conf/large/parameters.yml": "size: 2\n",
        tmp_path / "conf/base/catalog.yml": "customers: {type: pandas.CSVDataset, filepath: customers.csv}\n",
        tmp_path / "conf/local/credentials.yml": "{}\n",
        tmp_path / "customers.csv": "age\n40\n",
        tmp_path / "inside/here/file": "",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    program = OPENED.replace("PROJECT", repr(str(tmp_path))).replace("ENVIRONMENT", repr(environment))
    inside = tmp_path / "inside/here"
    said = subprocess.run([sys.executable, "-c", program], cwd=inside, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    expected = [str(tmp_path), environment or "base", {"size": size}, {"age": [40]}]
    assert expected == json.loads(said.stdout.splitlines()[-1])
