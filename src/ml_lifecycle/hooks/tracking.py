"""What kedro-mlflow does not log: the origin of a run, as tags on it."""

import contextlib
import os
from collections.abc import Iterator

import mlflow
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog

from ml_lifecycle import faults
from ml_lifecycle.hooks.origin import RAW_INPUTS, RUN_RECORD
from ml_lifecycle.provenance.record import RawInput, raw_input_tags, run_tags

#: Tag of a run that has begun: what it is made of is noted.
BEGUN = "git.commit"


class TrackingHook:
    """Tags the MLflow run that kedro-mlflow has opened, and sees that it is closed."""

    @hook_impl(tryfirst=True)
    def after_context_created(self) -> None:
        """Notice a run that was open before Kedro started: whoever opened it closes it."""
        self._was_open = mlflow.active_run() is not None

    @hook_impl(trylast=True)  # after OriginHook has collected and kedro-mlflow has opened the run
    def before_pipeline_run(self, catalog: DataCatalog) -> None:
        """Tag the run with commit, lock, parameters and the hashes of the raw inputs it reads.

        A run that is continued after a fault keeps the tags of its start: they are the origin of its model.
        """
        run = mlflow.active_run()
        if run is None or BEGUN in run.data.tags:  # tracking is switched off in mlflow.yml, or continued
            return
        read = {name: RawInput.model_validate(record) for name, record in catalog.load(RAW_INPUTS).items()}
        mlflow.set_tags({**run_tags(catalog.load(RUN_RECORD)), **raw_input_tags(read)})

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Close the run as often as kedro-mlflow has opened it: once more for every node.

        Otherwise a second run in the same process, as in a notebook, would be logged into the first.
        """
        while not self._was_open and mlflow.active_run() is not None:
            mlflow.end_run()

    @hook_impl(tryfirst=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """Forget the open run if its server is gone: closing it would wait for the server, once for every node."""
        fault = faults.explain(error)
        if fault is not None and fault.server == "tracking server":
            with _impatient():
                while not self._was_open and mlflow.active_run() is not None:
                    with contextlib.suppress(Exception):
                        mlflow.end_run("FAILED")


def close_interrupted() -> None:
    """Close the run of a command that was interrupted, of which Kedro tells no hook; MLflow would call it finished."""
    with _impatient(), contextlib.suppress(Exception):  # its server may be gone
        while mlflow.active_run() is not None:
            mlflow.end_run("KILLED")


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    names = ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT")
    before = {name: os.environ[name] for name in names}
    os.environ.update(zip(names, ("0", "1"), strict=True))
    try:
        yield
    finally:
        os.environ.update(before)
