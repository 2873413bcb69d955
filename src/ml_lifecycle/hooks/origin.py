"""Before any node runs: raw inputs are what DVC recorded, and the run knows what it is made of."""

from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import settings
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline

from ml_lifecycle.errors import RawInputError
from ml_lifecycle.nested import differing, merged
from ml_lifecycle.provenance import raw_inputs, run

RAW_INPUTS, RUN_RECORD = "raw_inputs", "run_record"
LOCAL = "local"


def _is_raw(dataset: Any) -> bool:
    metadata = getattr(dataset, "metadata", None) or {}
    return bool(metadata.get("kedro-viz", {}).get("layer") == "raw")


def file_of(catalog: DataCatalog, name: str) -> Path:
    """The file behind a dataset that is kept in one."""
    return Path(str(catalog[name]._filepath))  # type: ignore[attr-defined]  # Kedro's base class does not declare it


def _raw_paths(catalog: DataCatalog, pipeline: Pipeline) -> dict[str, Path]:
    """Files of the free inputs that the catalog places in the layer ``raw``."""
    names = [name for name in sorted(pipeline.inputs()) if not name.startswith("params:")]
    raw = [name for name in names if _is_raw(catalog.get(name))]
    for name in raw:
        protocol = getattr(catalog[name], "_protocol", "file")
        if protocol != "file":
            raise RawInputError(
                f"The raw input '{name}' lies on '{protocol}', where DVC cannot check it. "
                "Keep raw inputs in local files under DVC, and share them through a DVC remote."
            )
    return {name: file_of(catalog, name) for name in raw}


class OriginHook:
    """Verifies raw inputs and hands the nodes what the run is made of."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keep the context: it knows the environment and the effective parameters."""
        self._context = context

    def _given_outside_git(self, run_params: dict[str, Any]) -> dict[str, Any]:
        """The parameters that no committed file gives: of the command line, and of conf/local, which Git ignores."""
        loader, given = self._context.config_loader, run_params["runtime_params"] or {}
        if run_params["env"] not in (None, LOCAL):
            return given
        committed = settings.CONFIG_LOADER_CLASS(
            loader.conf_source, env="base", runtime_params=given, **settings.CONFIG_LOADER_ARGS
        )
        return merged(differing(loader["parameters"], committed["parameters"]), given)

    @hook_impl(tryfirst=True)  # a refused run must not leave an open MLflow run behind
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Refuse changed raw inputs; add ``raw_inputs`` and ``run_record`` to the catalog.

        Raises:
            RawInputError: a raw input is not what DVC recorded.
            ProvenanceError: the origin of the code or the environment is unknown.
        """
        project = Path(self._context.project_path)
        record = run.collect(
            project,
            run_params["env"] or "base",
            sorted(run_params["pipeline_names"] or ["__default__"]),  # Kedro hands them on as a set's hash orders them
            self._context.config_loader["parameters"],
            self._given_outside_git(run_params),
        )
        paths = _raw_paths(catalog, pipeline)
        verified = raw_inputs.verify(project, paths) if paths else {}
        catalog[RAW_INPUTS] = MemoryDataset({name: raw.model_dump() for name, raw in verified.items()})
        catalog[RUN_RECORD] = MemoryDataset(record, copy_mode="assign")
