"""What kedro-mlflow does not log: the origin of a run, as tags on it."""

import mlflow
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog

from ml_lifecycle.hooks.origin import RAW_INPUTS, RUN_RECORD
from ml_lifecycle.provenance.record import RawInput, raw_input_tags, run_tags


class TrackingHook:
    """Tags the MLflow run that kedro-mlflow has opened."""

    @hook_impl(trylast=True)  # after OriginHook has collected and kedro-mlflow has opened the run
    def before_pipeline_run(self, catalog: DataCatalog) -> None:
        """Tag the run with commit, lock, parameters and the hashes of the raw inputs it reads."""
        if mlflow.active_run() is None:  # tracking is switched off in mlflow.yml
            return
        read = {name: RawInput.model_validate(record) for name, record in catalog.load(RAW_INPUTS).items()}
        mlflow.set_tags({**run_tags(catalog.load(RUN_RECORD)), **raw_input_tags(read)})
