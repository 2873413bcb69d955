"""Before the long work: the servers are there. After a fault: how to go on without losing what is finished."""

import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import mlflow
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.runner.runner import _find_nodes_to_resume_from
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from ml_lifecycle import faults, run_command, shared_store
from ml_lifecycle.errors import ConfigurationError, HoldError, ServerError
from ml_lifecycle.hooks.tracking import BEGUN

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
            "`make env` makes .env, where they stand: put in those of your servers, and: `set -a; source .env; set +a`."
        )


def _ask(uri: str) -> None:
    """See that the tracking server is there, with the patience and the credentials of every other request to it."""
    try:
        credentials = get_default_host_creds(uri)  # type: ignore[no-untyped-call]  # MLflow's, as the next line
        http_request(credentials, "/health", "GET").raise_for_status()  # type: ignore[no-untyped-call]
    except Exception as error:
        fault = faults.explain(error)
        if fault is None:
            raise
        raise ServerError(fault.text) from error


def _continued_run() -> str | None:
    """The MLflow run that this one goes on with: an earlier one that has begun to write.

    Raises:
        ConfigurationError: MLFLOW_RUN_ID names no run, or a deleted one.
    """
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if not run_id:
        return None
    try:
        run = mlflow.MlflowClient().get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        run = None
    if run is None or run.info.lifecycle_stage == "deleted":
        raise ConfigurationError(
            f"MLFLOW_RUN_ID={run_id} names no run that could go on; it is unknown or deleted. Nothing was run. "
            "Unset the variable to start a new run."
        )
    return run_id if BEGUN in run.data.tags else None


class ServersHook:
    """Asks the servers before a run, holds the store during it, and tells how to go on after a fault."""

    @hook_impl(tryfirst=True)  # before kedro-mlflow asks the tracking server, patiently
    def after_context_created(self, context: KedroContext) -> None:
        """Refuse an environment whose variables are not set, or whose tracking server is away.

        Raises:
            ConfigurationError: a variable is not set, or names no server.
            ServerError: the tracking server does not answer.
        """
        self._loader = context.config_loader
        refuse_missing_variables(Path(self._loader.conf_source), context.env)
        self._remote = context.config_loader["mlflow"]["server"].get("mlflow_tracking_uri") is None
        if self._remote:
            _ask(faults.tracking_server() or self._refuse_tracking(str(context.env)))

    @staticmethod
    def _refuse_tracking(environment: str) -> NoReturn:
        got = faults.without_password(os.environ.get("MLFLOW_TRACKING_URI", "nothing"))
        raise ConfigurationError(
            f"The environment '{environment}' wants a tracking server, got {got}. Allowed: http://… or https://… in "
            "MLFLOW_TRACKING_URI. A notebook that has worked on files before has to be restarted: MLflow sets the "
            "variable."
        )

    @hook_impl(wrapper=True, tryfirst=True)  # around the other hooks: if one of them refuses, the store is free again
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> Iterator[None]:
        """Hold the store, see that the tracking server reaches its artifacts, and that a run goes on with its own.

        Raises:
            HoldError: another run holds the store, or has written what this one would go on with.
            ConfigurationError: the run to go on with is unknown.
        """
        self._saved: set[str] = set()
        self._catalog, self._ledger = catalog, shared_store.ledger(self._loader)
        file = shared_store.hold_file(self._loader)
        if file is not None:
            shared_store.held.append((file, file.acquire(run_command.write(run_params))))
        try:
            if self._remote:
                mlflow.artifacts.list_artifacts("mlflow-artifacts:/0")
            if (continued := _continued_run()) is not None:
                self._refuse_mixing(continued, run_params, pipeline)
            yield
            run = mlflow.active_run()
            self._run = run.info.run_id if run is not None else uuid.uuid4().hex
        except BaseException:
            shared_store.give_back()
            raise

    def _refuse_mixing(self, continued: str, run_params: dict[str, Any], pipeline: Pipeline) -> None:
        others = self._ledger.of_others(pipeline.inputs(), continued) if self._ledger is not None else {}
        if others:
            again = run_command.write({**run_params, "from_nodes": None})
            raise HoldError(
                f"The run {continued} cannot go on: since it stopped, {', '.join(sorted(set(others.values())))} wrote "
                f"{', '.join(others)}, and a model would be made of both. Nothing was run. Start over: `{again}`, "
                "without MLFLOW_RUN_ID."
            )

    @hook_impl
    def before_dataset_saved(self, dataset_name: str) -> None:
        """Write to a shared store only while it is held, and note in its ledger who writes.

        Raises:
            HoldError: the hold of this run was cleared.
        """
        if isinstance(self._catalog[dataset_name], MemoryDataset):
            return
        for file, hold in shared_store.held:
            file.confirm(hold)
        if self._ledger is not None and hasattr(self._catalog[dataset_name], "_filepath"):
            self._ledger.note(dataset_name, self._run)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Remember what is finished; Kedro calls a node finished before its results are saved."""
        self._saved.add(dataset_name)

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Give the store back."""
        shared_store.give_back()

    @hook_impl(tryfirst=True)  # while MLflow's run is still open
    def on_pipeline_error(
        self, error: Exception, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Note on a fault how to go on, and give the store back."""
        fault = faults.explain(error)
        if fault is not None:
            error.add_note(self._how_to_go_on(run_params, pipeline, catalog))
        if fault is not None and fault.server == "object store" and fault.is_away:
            shared_store.held.clear()  # it cannot be told; the next run here sees when this process has ended
        shared_store.give_back()

    def _how_to_go_on(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> str:
        done = {node for node in pipeline.nodes if set(node.outputs) <= self._saved}
        start = sorted(_find_nodes_to_resume_from(pipeline, set(pipeline.nodes) - done, catalog)) if done else None
        run = mlflow.active_run()
        same_run = f"MLFLOW_RUN_ID={run.info.run_id} " if run is not None and done else ""
        return (
            f"{len(done)} of {len(pipeline.nodes)} steps are finished and kept. When the server is back, go on with: "
            f"`{same_run}{run_command.write(run_params, start)}`"
        )
