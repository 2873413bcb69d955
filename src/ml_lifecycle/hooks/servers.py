"""Before the long work: the servers are there. After a fault: how to go on without losing what is finished."""

import logging
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import mlflow
import requests
from kedro.config import AbstractConfigLoader
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.runner.runner import _find_nodes_to_resume_from

from ml_lifecycle import faults
from ml_lifecycle.errors import ConfigurationError
from ml_lifecycle.hold import Hold, HoldFile

logger = logging.getLogger(__name__)

#: What this process holds: nothing, or one store.
_held: list[tuple[HoldFile, Hold]] = []
#: Seconds to connect, and to answer.
TIMEOUT = (5, 30)
_COMMENT = re.compile(r"(^|\s)#.*$", re.MULTILINE)
_REFERENCE = re.compile(r"\$\{oc\.env:(\w+)\}")


def missing_variables(folder: Path) -> list[str]:
    """Name the variables that the files of an environment refer to, without a default, and that are not set."""
    texts = [_COMMENT.sub("", file.read_text(encoding="utf-8")) for file in sorted(folder.rglob("*.yml"))]
    names = dict.fromkeys(name for text in texts for name in _REFERENCE.findall(text))
    return [name for name in names if not os.environ.get(name)]


def refuse_missing_variables(conf: Path, environment: str | None) -> None:
    """Name every variable that an environment needs and that is not set.

    Raises:
        ConfigurationError: there is one.
    """
    if missing := missing_variables(conf / str(environment)):
        raise ConfigurationError(
            f"The environment '{environment}' needs {', '.join(missing)}, not set in this shell. Nothing was run. "
            "Copy .env.example to .env, fill it in, and: `set -a; source .env; set +a`."
        )


def hold_file(loader: AbstractConfigLoader) -> HoldFile | None:
    """The file that says who is at work, if the environment names one."""
    store = loader["globals"]["store"]
    if store["hold"] is None:
        return None
    from s3fs import S3FileSystem  # a quarter of a second, which runs on files need not pay

    S3FileSystem.retries = 1  # botocore asks again as often as defaults.env says; both together would multiply
    return HoldFile(store["hold"], loader["credentials"][store["credentials"]] if store["credentials"] else None)


def _command(run_params: dict[str, Any], from_nodes: list[str] | None = None) -> str:
    """Write the run as a command."""
    options = {
        "env": run_params["env"],
        "pipelines": ",".join(run_params["pipeline_names"] or []),
        "params": ",".join(f"{key}={value}" for key, value in _flat(run_params["runtime_params"] or {}).items()),
        "from-nodes": ",".join(from_nodes or run_params["from_nodes"] or []),
        "to-nodes": ",".join(run_params["to_nodes"] or []),
        "nodes": ",".join(run_params["node_names"] or []),
        "tags": ",".join(run_params["tags"] or []),
    }
    return " ".join(["kedro run", *(f"--{name} {shlex.quote(value)}" for name, value in options.items() if value)])


def _flat(parameters: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in parameters.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def give_back() -> None:
    """Give the store back, if this process holds it."""
    while _held:
        file, hold = _held.pop()
        try:
            file.release(hold)
        except Exception as error:
            if faults.explain(error) is None:
                raise
            logger.info("the store was not told that this run has ended; the next run on this machine sees it")


class ServersHook:
    """Asks the servers before a run, holds the store during it, and tells how to go on after a fault."""

    @hook_impl(tryfirst=True)  # before kedro-mlflow asks the tracking server, patiently
    def after_context_created(self, context: KedroContext) -> None:
        """Refuse an environment whose variables are not set, or whose tracking server is away.

        Raises:
            ConfigurationError: a variable is not set, or names no server.
            requests.RequestException: the tracking server does not answer; `faults.explain` knows it.
        """
        self._loader = context.config_loader
        refuse_missing_variables(Path(self._loader.conf_source), context.env)
        self._remote = context.config_loader["mlflow"]["server"].get("mlflow_tracking_uri") is None
        if self._remote:
            uri = faults.tracking_server() or self._refuse_tracking(str(context.env))
            requests.get(f"{uri.rstrip('/')}/health", timeout=TIMEOUT).raise_for_status()

    @staticmethod
    def _refuse_tracking(environment: str) -> NoReturn:
        got = faults.without_password(os.environ.get("MLFLOW_TRACKING_URI", "nothing"))
        raise ConfigurationError(
            f"The environment '{environment}' wants a tracking server, got {got}. Allowed: http://… or https://… in "
            "MLFLOW_TRACKING_URI. A notebook that has worked on files before has to be restarted: MLflow sets the "
            "variable."
        )

    @hook_impl(wrapper=True, tryfirst=True)  # around the other hooks: if one of them refuses, the store is free again
    def before_pipeline_run(self, run_params: dict[str, Any]) -> Iterator[None]:
        """Hold the store, and see that the tracking server reaches its artifacts.

        Raises:
            HoldError: another run holds the store.
        """
        self._saved: set[str] = set()
        file = hold_file(self._loader)
        if file is not None:
            _held.append((file, file.acquire(_command(run_params))))
        try:
            if self._remote:
                mlflow.artifacts.list_artifacts("mlflow-artifacts:/0")
            yield
        except BaseException:
            give_back()
            raise

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Remember what is finished; Kedro calls a node finished before its results are saved."""
        self._saved.add(dataset_name)

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Give the store back."""
        give_back()

    @hook_impl(tryfirst=True)  # while MLflow's run is still open
    def on_pipeline_error(
        self, error: Exception, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Note on a fault how to go on, and give the store back."""
        fault = faults.explain(error)
        if fault is not None:
            error.add_note(self._how_to_go_on(run_params, pipeline, catalog))
        if fault is not None and fault.server == "object store" and fault.is_away:
            _held.clear()  # it cannot be told; the next run on this machine sees that this one has ended
        give_back()

    def _how_to_go_on(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> str:
        done = {node for node in pipeline.nodes if set(node.outputs) <= self._saved}
        start = sorted(_find_nodes_to_resume_from(pipeline, set(pipeline.nodes) - done, catalog)) if done else None
        run = mlflow.active_run()
        same_run = f"MLFLOW_RUN_ID={run.info.run_id} " if run is not None and done else ""
        return (
            f"{len(done)} of {len(pipeline.nodes)} steps are finished and kept. When the server is back, go on with: "
            f"`{same_run}{_command(run_params, start)}`"
        )
