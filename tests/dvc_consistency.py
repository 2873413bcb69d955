"""Compares dvc.yaml with the catalog, the pipelines, the parameter files and the imports."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import grimp
import yaml
from kedro.config import OmegaConfigLoader
from kedro.io import CatalogConfigResolver
from kedro.pipeline import Pipeline

from ml_lifecycle.settings import CONFIG_LOADER_ARGS

PROJECT = Path(__file__).parents[1]
PACKAGE = "ml_lifecycle"

#: Registered pipelines without a stage, and why.
WITHOUT_STAGE = {
    "__default__": "it is the sum of the others",
    "tabular": "it is for a table of one's own, in an environment of its own",
}
#: Datasets with a file that no stage owns, and why.
NOT_OWNED_BY_DVC = {
    "predictions": "they carry the time of scoring and the version, which the registry decides",
    "prediction_log": "it keeps the predictions of every run, where DVC would remove those of earlier ones",
    "data_record": "it names commit and time of the run that made the data",
    "training_record": "it names commit and time of the run that made the model",
}
#: Datasets without a file whose reader depends on another dataset instead, and why.
STAND_INS = {
    "data_record": ("model_input", "it says who made that table, not what is in it"),
    "registered_model": ("onnx_model", "MLflow owns the version; a new model file means a new version"),
}
#: Folders that belong to a module.
FOLDERS_OF_MODULES = {f"{PACKAGE}.model_card": f"src/{PACKAGE}/templates"}
#: What every pipeline depends on.
LOCK = "requirements/run.txt"


@dataclass(frozen=True)
class Project:
    """Everything that dvc.yaml must agree with."""

    catalog: Mapping[str, Any]
    sample: Mapping[str, Any]
    pipelines: Mapping[str, Pipeline]
    parameter_files: Mapping[str, set[str]]
    imports: Mapping[str, set[str]]


def catalog_of(environment: str, conf: Path = PROJECT / "conf") -> dict[str, Any]:
    """Read the catalog of an environment."""
    without_local = {**CONFIG_LOADER_ARGS, "default_run_env": "base"}
    loader = OmegaConfigLoader(conf_source=str(conf), env=environment, **without_local)
    return dict(loader["catalog"])


def parameter_keys() -> dict[str, set[str]]:
    """Map each parameter file of `base` to its top-level keys."""
    files = sorted((PROJECT / "conf/base").glob("parameters*.yml"))
    return {file.relative_to(PROJECT).as_posix(): set(yaml.safe_load(file.read_text())) for file in files}


def imports_of_pipelines() -> dict[str, set[str]]:
    """Map each pipeline package to the modules of this package that it imports, directly or not."""
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)
    packages = graph.find_children(f"{PACKAGE}.pipelines")
    return {package.rsplit(".", 1)[1]: graph.find_upstream_modules(package, as_package=True) for package in packages}


def read_project() -> Project:
    """Read this project."""
    from ml_lifecycle.pipeline_registry import register_pipelines

    return Project(
        catalog_of("base"), catalog_of("test"), register_pipelines(), parameter_keys(), imports_of_pipelines()
    )


def declared(catalog: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """Find the entry of a dataset, by its name or by a pattern; None if there is none."""
    resolver = CatalogConfigResolver(dict(catalog))
    if name not in resolver.config and resolver.match_dataset_pattern(name) is None:
        return None
    return dict(resolver.resolve_pattern(name))


def file_of(catalog: Mapping[str, Any], name: str) -> str | None:
    """Find the file of a dataset; None if it has none, or if it is not in the catalog."""
    entry = declared(catalog, name) or {}
    path = entry.get("filepath") or entry.get("dataset", {}).get("filepath")
    return None if path is None else PurePosixPath(path).as_posix()


def is_raw(entry: Mapping[str, Any]) -> bool:
    """Tell whether an entry of the catalog is in the layer `raw`."""
    return entry.get("metadata", {}).get("kedro-viz", {}).get("layer") == "raw"


def _datasets(names: set[str]) -> set[str]:
    return {name for name in names if not name.startswith("params:")}


def _expected_outs(project: Project, pipeline: Pipeline) -> set[str]:
    owned = _datasets(pipeline.all_outputs()) - set(NOT_OWNED_BY_DVC)
    return {file for name in owned if (file := file_of(project.catalog, name))}


def _expected_data(project: Project, pipeline: Pipeline) -> set[str]:
    read = {STAND_INS[name][0] if name in STAND_INS else name for name in _datasets(pipeline.inputs())}
    return {file for name in read if (file := file_of(project.catalog, name))}


def _path_of_module(module: str) -> str:
    path = f"src/{module.replace('.', '/')}"
    return f"{path}/__init__.py" if (PROJECT / path).is_dir() else f"{path}.py"


def _expected_code(project: Project, name: str) -> set[str]:
    modules = project.imports[name]
    folders = {folder for module, folder in FOLDERS_OF_MODULES.items() if module in modules}
    return {LOCK, f"src/{PACKAGE}/pipelines/{name}", *map(_path_of_module, modules), *folders}


def _expected_params(project: Project, pipeline: Pipeline) -> dict[str, Any]:
    used = {name.removeprefix("params:").split(".")[0] for name in pipeline.inputs() if name.startswith("params:")}
    files = {file: None for file, keys in project.parameter_files.items() if keys & used - {"seed"}}
    return {**files, **({"conf/base/globals.yml": ["seed"]} if "seed" in used else {})}


def _names(entries: list[Any]) -> set[str]:
    return {name for entry in entries for name in (entry if isinstance(entry, dict) else [entry])}


def _compared(what: str, expected: set[str], found: set[str]) -> Iterator[str]:
    yield from (f"{what}: {name} is missing in dvc.yaml" for name in sorted(expected - found))
    yield from (f"{what}: {name} does not belong in dvc.yaml" for name in sorted(found - expected))


def _raw_stage(name: str, catalog: Mapping[str, Any], stage: Mapping[str, Any]) -> Iterator[str]:
    raw = {str(file_of(catalog, key)) for key, entry in catalog.items() if is_raw(entry)}
    yield from _compared(f"{name}, outs", raw, _names(stage.get("outs", [])))
    yield from _compared(f"{name}, deps", {f"src/{PACKAGE}/raw_data.py"}, _names(stage.get("deps", [])))


def _pipeline_stage(name: str, project: Project, stage: Mapping[str, Any]) -> Iterator[str]:
    pipeline = project.pipelines[name]
    if stage["cmd"] != (command := f"kedro run --pipelines {name} --env base"):
        yield f"{name}, cmd: '{stage['cmd']}' should be '{command}'"
    deps = _expected_data(project, pipeline) | _expected_code(project, name)
    yield from _compared(f"{name}, outs", _expected_outs(project, pipeline), _names(stage.get("outs", [])))
    yield from _compared(f"{name}, deps", deps, _names(stage.get("deps", [])))
    expected = _expected_params(project, pipeline)
    found = {file: keys for entry in stage.get("params", []) for file, keys in entry.items()}
    yield from _compared(f"{name}, params", set(expected), set(found))
    yield from (
        f"{name}, params: {file} has {found[file]}, should have {expected[file]}"
        for file in sorted(set(expected) & set(found))
        if expected[file] != found[file]
    )


def differences(stages: Mapping[str, Any], project: Project) -> list[str]:
    """Name everything in which the stages of dvc.yaml differ from the project."""
    raw = {"raw_data": project.catalog, "raw_sample": project.sample}
    pipelines = set(project.pipelines) - set(WITHOUT_STAGE)
    found = list(_compared("stages", pipelines | set(raw), set(stages)))
    for name in sorted(set(stages) & set(raw)):
        found += _raw_stage(name, raw[name], stages[name])
    for name in sorted(set(stages) & pipelines):
        found += _pipeline_stage(name, project, stages[name])
    return found
