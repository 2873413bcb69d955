"""Before a run, the servers are asked; during it, the store is held; after a fault, the way on is told."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
import requests
from kedro.framework.hooks import _create_hook_manager, hook_impl
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro_datasets.json import JSONDataset
from pluggy import PluginManager

from ml_lifecycle.errors import ConfigurationError, HoldError, ServerError
from ml_lifecycle.hold import Hold, HoldFile
from ml_lifecycle.hooks import ServersHook
from ml_lifecycle.hooks.servers import missing_variables
from ml_lifecycle.ledger import Ledger
from ml_lifecycle.shared_store import give_back
from mlflow_store import own_mlflow

pytestmark = pytest.mark.filterwarnings("default")  # of third parties; test_lifecycle.py tests that a user sees none

NO_OPTIONS = dict.fromkeys(
    (
        *("env", "pipeline_names", "runtime_params", "from_nodes", "to_nodes", "node_names", "from_inputs"),
        *("to_outputs", "namespaces", "tags", "only_missing_outputs"),
    ),
    None,
)
RUN = {**NO_OPTIONS, "env": "minio"}
AWAY = requests.ConnectionError("refused")


def same(value: int) -> int:
    """Stand for a node."""
    return value


PIPELINE = Pipeline(
    [
        Node(same, "raw", "kept", name="prepare"),
        Node(same, "kept", "in_memory", name="fit"),
        Node(same, "in_memory", "model", name="export"),
        Node(same, "model", "registered", name="register"),
    ]
)


@pytest.fixture
def catalog(tmp_path: Path) -> DataCatalog:
    """Return a catalog in which one dataset lives in memory only."""
    files = {name: JSONDataset(filepath=str(tmp_path / name)) for name in ("raw", "kept", "model", "registered")}
    return DataCatalog({**files, "in_memory": MemoryDataset()})


@pytest.fixture
def store(tmp_path: Path) -> HoldFile:
    """Return the hold of a store in a folder."""
    return HoldFile(f"file://{tmp_path}/hold.json")


def context(tmp_path: Path, *, is_remote: bool = False, holds: bool = True) -> Any:
    """Make what the hook reads of a context: where the configuration lies, and three of its parts."""
    (tmp_path / "conf/minio").mkdir(parents=True, exist_ok=True)
    ledger = f"file://{tmp_path}/ledger.json" if holds else None
    configuration = {
        "globals": {
            "store": {"hold": f"file://{tmp_path}/hold.json" if holds else None, "ledger": ledger, "credentials": None}
        },
        "mlflow": {"server": {"mlflow_tracking_uri": None if is_remote else "sqlite:///mlflow.db"}},
    }

    class Loader(dict[str, Any]):
        conf_source = str(tmp_path / "conf")

    return SimpleNamespace(config_loader=Loader(configuration), env="minio")


@pytest.fixture
def hooks(tmp_path: Path) -> Iterator[Callable[..., PluginManager]]:
    """Return a function that makes Kedro's manager of hooks, with this one and others, in a context."""

    def make(*others: Any, **options: Any) -> PluginManager:
        manager = _create_hook_manager()
        for plugin in (*others, ServersHook()):
            manager.register(plugin)
        manager.hook.after_context_created(context=context(tmp_path, **options))
        return manager

    yield make
    give_back()


def start(manager: PluginManager, catalog: DataCatalog) -> None:
    """Begin a run."""
    manager.hook.before_pipeline_run(run_params=RUN, pipeline=PIPELINE, catalog=catalog)


class TestVariables:
    """Which variables an environment needs."""

    def test_names_what_is_not_set(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """References without a default, in every file, in their order; set variables, defaults and comments aside."""
        monkeypatch.setenv("SET_ALREADY", "x")
        monkeypatch.setenv("SET_TO_NOTHING", "")
        (tmp_path / "deep").mkdir()
        (tmp_path / "credentials.yml").write_text(
            "a: ${oc.env:NOT_SET}\nb: ${oc.env:SET_ALREADY}\nc: ${oc.env:WITH_DEFAULT, null}\n# ${oc.env:COMMENT}\n"
            "d: ${oc.env:SET_TO_NOTHING}\ne: ${oc.env:NOT_SET}:${oc.env:SECOND} # ${oc.env:COMMENT}\n",
            encoding="utf-8",
        )
        (tmp_path / "deep/more.yml").write_text("f: 'x${oc.env:ALSO_NOT_SET}'", encoding="utf-8")
        assert ["NOT_SET", "SET_TO_NOTHING", "SECOND", "ALSO_NOT_SET"] == missing_variables(tmp_path)

    def test_an_environment_without_files_needs_nothing(self, tmp_path: Path) -> None:
        """A folder that is not there refers to nothing."""
        assert [] == missing_variables(tmp_path / "local")

    def test_refuses_before_anything_is_asked(self, tmp_path: Path, hooks: Callable[..., PluginManager]) -> None:
        """The context is refused, with the names."""
        (tmp_path / "conf/minio").mkdir(parents=True)
        (tmp_path / "conf/minio/credentials.yml").write_text("a: ${oc.env:NOT_SET}", encoding="utf-8")
        with pytest.raises(ConfigurationError, match=r"'minio' needs NOT_SET, not set in this shell"):
            hooks(is_remote=True)


class TestTrackingServer:
    """Whether the tracking server is there."""

    def test_is_asked_first(self, hooks: Callable[..., PluginManager], monkeypatch: pytest.MonkeyPatch) -> None:
        """A server that is away refuses the context."""
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with pytest.raises(ServerError, match=r"tracking server at http://127\.0\.0\.1:1 does not answer"):
            hooks(is_remote=True)

    @pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "127.0.0.1:5000"])
    def test_has_to_be_a_server(
        self, uri: str, hooks: Callable[..., PluginManager], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An address that is none of a server is refused, with what is allowed."""
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(ConfigurationError, match=f"'minio' wants a tracking server, got {uri}. Allowed: http"):
            hooks(is_remote=True)

    def test_a_file_is_not_asked(self, hooks: Callable[..., PluginManager], monkeypatch: pytest.MonkeyPatch) -> None:
        """An environment with a database of its own asks no server, whatever the variable says."""
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
        assert hooks().has_plugin("nobody") is False


class TestHold:
    """The store is held during a run, and free afterwards, however it ends."""

    def test_during_a_run(self, hooks: Callable[..., PluginManager], catalog: DataCatalog, store: HoldFile) -> None:
        """From before the first node until after the last."""
        manager = hooks()
        start(manager, catalog)
        held = store.read()
        assert held is not None
        assert "kedro run --env minio" == held.command
        manager.hook.after_pipeline_run(run_params=RUN, run_result={}, pipeline=PIPELINE, catalog=catalog)
        assert store.read() is None

    def test_after_an_error(self, hooks: Callable[..., PluginManager], catalog: DataCatalog, store: HoldFile) -> None:
        """A bug in a node gives the store back."""
        manager = hooks()
        start(manager, catalog)
        error = ZeroDivisionError("a bug")
        manager.hook.on_pipeline_error(error=error, run_params=RUN, pipeline=PIPELINE, catalog=catalog)
        assert (None, []) == (store.read(), getattr(error, "__notes__", []))

    def test_where_another_hook_refuses(
        self, hooks: Callable[..., PluginManager], catalog: DataCatalog, store: HoldFile
    ) -> None:
        """A run that another hook refuses, while the store is held, gives it back."""
        seen: list[Hold | None] = []

        class Refusing:
            @hook_impl
            def before_pipeline_run(self) -> None:
                seen.append(store.read())
                raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            start(hooks(Refusing()), catalog)
        assert seen[0] is not None
        assert store.read() is None

    def test_of_somebody_else(
        self, hooks: Callable[..., PluginManager], catalog: DataCatalog, store: HoldFile, tmp_path: Path
    ) -> None:
        """A run is refused, and what the other holds is left alone."""
        other = Hold.of_this_process("kedro run").model_copy(update={"machine": "elsewhere/1"})
        (tmp_path / "hold.json").write_text(other.model_dump_json(), encoding="utf-8")
        with pytest.raises(HoldError, match="on elsewhere"):
            start(hooks(), catalog)
        assert other == store.read()

    def test_of_an_environment_that_shares_nothing(
        self, hooks: Callable[..., PluginManager], catalog: DataCatalog, store: HoldFile
    ) -> None:
        """Where no hold is named, none is taken."""
        start(hooks(holds=False), catalog)
        assert store.read() is None

    def test_given_back_without_a_store(
        self, hooks: Callable[..., PluginManager], catalog: DataCatalog, tmp_path: Path
    ) -> None:
        """A store that vanished has nothing to be told."""
        start(hooks(), catalog)
        (tmp_path / "hold.json").unlink()
        give_back()
        assert not (tmp_path / "hold.json").exists()


class TestLedger:
    """A shared store knows which run wrote what, and a run goes on with its own results only."""

    @pytest.fixture
    def run_id(self, tmp_path: Path) -> Iterator[str]:
        """Open an MLflow run."""
        with own_mlflow(tmp_path):
            yield mlflow.active_run().info.run_id

    def save(self, manager: PluginManager, *names: str) -> None:
        """Tell of datasets that are about to be saved."""
        for name in names:
            manager.hook.before_dataset_saved(dataset_name=name, data=1, node=PIPELINE.nodes[0])

    def test_notes_what_is_kept(
        self, hooks: Callable[..., PluginManager], catalog: DataCatalog, tmp_path: Path, run_id: str
    ) -> None:
        """Each dataset with a file is noted with the run, before it is written; what lives in memory is not."""
        manager = hooks()
        start(manager, catalog)
        self.save(manager, "kept", "in_memory")
        assert {"kept": run_id} == Ledger(f"file://{tmp_path}/ledger.json").read()

    def test_stops_where_the_hold_was_cleared(
        self, hooks: Callable[..., PluginManager], catalog: DataCatalog, store: HoldFile, tmp_path: Path
    ) -> None:
        """A run whose hold somebody cleared writes no more."""
        manager = hooks()
        start(manager, catalog)
        store.clear(by_force=True)
        with pytest.raises(HoldError, match="was cleared while it was at work, and the store is held by nobody"):
            self.save(manager, "kept")
        assert not (tmp_path / "ledger.json").exists()

    def go_on(self, monkeypatch: pytest.MonkeyPatch, run_id: str, *, begun: bool = True) -> None:
        """Ask for a run that goes on."""
        if begun:
            mlflow.set_tag("git.commit", "c0ffee")
        monkeypatch.setenv("MLFLOW_RUN_ID", run_id)

    @pytest.mark.parametrize("begun", [True, False])
    def test_of_the_same_run(
        self,
        hooks: Callable[..., PluginManager],
        catalog: DataCatalog,
        tmp_path: Path,
        run_id: str,
        monkeypatch: pytest.MonkeyPatch,
        begun: bool,
    ) -> None:
        """A run goes on with what it wrote itself; one that only starts has no results of its own to mix."""
        self.go_on(monkeypatch, run_id, begun=begun)
        Ledger(f"file://{tmp_path}/ledger.json").note("raw", run_id if begun else "another")
        start(hooks(), catalog)
        assert (tmp_path / "hold.json").exists()

    def test_of_another_run(
        self,
        hooks: Callable[..., PluginManager],
        catalog: DataCatalog,
        store: HoldFile,
        tmp_path: Path,
        run_id: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """What another run wrote since is not taken for its own: it is named, with the command that starts over."""
        self.go_on(monkeypatch, run_id)
        Ledger(f"file://{tmp_path}/ledger.json").note("raw", "another")
        with pytest.raises(HoldError) as caught:
            start(hooks(), catalog)
        message = caught.value.message
        assert f"The run {run_id} cannot go on: since it stopped, another wrote raw, and" in message
        assert "Start over: `kedro run --env minio`" in message
        assert store.read() is None

    @pytest.mark.parametrize("state", ["unknown", "deleted"])
    def test_of_no_run(
        self,
        hooks: Callable[..., PluginManager],
        catalog: DataCatalog,
        store: HoldFile,
        run_id: str,
        monkeypatch: pytest.MonkeyPatch,
        state: str,
    ) -> None:
        """A run that is unknown or deleted cannot go on; one line says so."""
        with mlflow.start_run(nested=True) as other:
            pass
        mlflow.delete_run(other.info.run_id)
        self.go_on(monkeypatch, other.info.run_id if state == "deleted" else "0" * 32, begun=False)
        with pytest.raises(ConfigurationError, match="names no run that could go on; it is unknown or deleted"):
            start(hooks(), catalog)
        assert store.read() is None


class TestWayOn:
    """The note on an error after a fault."""

    @pytest.fixture
    def note(
        self,
        hooks: Callable[..., PluginManager],
        catalog: DataCatalog,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Callable[..., str]:
        """Return a function: the note after these datasets were saved."""
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")

        def after(*saved: str, **run_params: Any) -> str:
            manager, error = hooks(), requests.ConnectionError("refused")
            start(manager, catalog)
            for name in saved:
                if name in ("kept", "model", "registered"):
                    (tmp_path / name).write_text("1", encoding="utf-8")
                manager.hook.after_dataset_saved(dataset_name=name, data=1, node=PIPELINE.nodes[0])
            manager.hook.on_pipeline_error(
                error=error, run_params={**RUN, **run_params}, pipeline=PIPELINE, catalog=catalog
            )
            (note,) = error.__notes__
            return note

        return after

    def test_from_where_data_are_kept(self, note: Callable[..., str]) -> None:
        """A step whose input lived in memory starts from the step that made it."""
        told = note("kept", "in_memory")
        assert "2 of 4 steps are finished and kept." in told
        assert told.endswith("go on with: `kedro run --env minio --from-nodes fit`")

    def test_the_last_step(self, note: Callable[..., str]) -> None:
        """Only registration is left."""
        assert note("kept", "in_memory", "model").endswith("`kedro run --env minio --from-nodes register`")

    def test_nothing_done(self, note: Callable[..., str]) -> None:
        """Where nothing is finished, the command is the same."""
        assert note().endswith("0 of 4 steps are finished and kept. When the server is back, go on with: "
                               "`kedro run --env minio`")  # fmt: skip

    def test_in_the_same_run(self, note: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With an open MLflow run, the command continues it."""
        with own_mlflow(tmp_path):
            monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # MLflow has set it to its own
            run_id = mlflow.active_run().info.run_id
            assert f"`MLFLOW_RUN_ID={run_id} kedro run --env minio --from-nodes register`" in note(
                "kept", "in_memory", "model"
            )
