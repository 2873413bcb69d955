"""The configuration of a place: the recorded parameters, and paths that are the reproduction's own."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ml_lifecycle.errors import ReproductionError
from ml_lifecycle.reproduction.place import ENVIRONMENT, Place

BASE = "base"
#: Where a place puts what would be written outside of it.
_MOVED_IN = "build/reproduced"


def configure(place: Place, project: Path) -> None:
    """Write an environment with the recorded parameters, and with paths that are the reproduction's own.

    Its globals are those of the recorded environment, but for paths to which the run would write, and which lead out of
    the worktree. What is only read stays where it is.

    Args:
        place: whose configuration is written; its virtual environment is there.
        project: the clone of the caller: a path into it becomes one of the worktree.

    Raises:
        ReproductionError: the configuration of the commit cannot be read, something would be written elsewhere, or in
            a shape that cannot be compared.
    """
    place.say("asking its code what it would write")
    recorded = place.run.kedro_environment
    found = place.take_inventory(recorded)
    place.conf.mkdir(parents=True)
    if recorded != BASE:
        _copy_catalogs(place.tree / "conf" / recorded, place.conf)
    outside = [address for entry in found["written"].values() for address in place.outside(entry)]
    content = _leaves(found["globals"], lambda name, value: _path_of(place, project, name, value, outside))
    content["store"] = {**content.get("store", {}), "hold": None, "ledger": None, "credentials": None}
    content["registry"] = {**content.get("registry", {}), "history": f"{_MOVED_IN}/history"}
    if place.store is not None:
        content["store"]["credentials"] = place.store.name
        content["paths"] = content.get("paths", {}) | place.store.paths
        _write(place.conf / "credentials.yml", {place.store.name: place.store.credentials})
    _write(place.conf / "globals.yml", content)
    _write(place.conf / "parameters.yml", place.run.parameters)
    _write(place.conf / "mlflow.yml", _tracking(place))
    _refuse_elsewhere(place)
    for dataset in {*place.outputs, *place.given}:
        place.address_of(dataset)


def _tracking(place: Place) -> dict[str, Any]:
    """A tracking store in the worktree, whatever its commit names."""
    server = {
        "mlflow_tracking_uri": f"sqlite:///{place.tree}/mlflow.db",
        "mlflow_registry_uri": None,
        "credentials": None,
    }
    artifacts = {"artifact_location": str(place.tree / "mlruns")}
    return {"server": server, "tracking": {"experiment": {"create_experiment_kwargs": artifacts}}}


def _copy_catalogs(source: Path, target: Path) -> None:
    """Copy what Kedro takes for the catalog: files so called, and files in folders so called."""
    for file in source.rglob("*"):
        parts = file.relative_to(source).parts
        if file.is_file() and any(part.startswith("catalog") for part in parts):
            (target / Path(*parts)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target / Path(*parts))


def _leaves(content: Mapping[str, Any], change: Callable[[str, str], str], name: str = "") -> dict[str, Any]:
    """Change every text in nested mappings, which is called by the keys that lead to it."""
    changed: dict[str, Any] = {}
    for key, value in content.items():
        whole = f"{name}/{key}".strip("/")
        if isinstance(value, Mapping):
            changed[key] = _leaves(value, change, whole)
        else:
            changed[key] = change(whole, value) if isinstance(value, str) else value
    return changed


def _path_of(place: Place, project: Path, name: str, value: str, outside: list[str]) -> str:
    """What a text of the globals becomes: itself, unless it is a path that leads out of the worktree."""
    if place.holds(value):
        return value
    if Path(value).is_absolute() and Path(value).is_relative_to(project):
        return str(Path(value).relative_to(project))
    is_written = any(f"{address}/".startswith(f"{value.rstrip('/')}/") for address in outside)
    return f"{_MOVED_IN}/{name.removeprefix('paths/')}" if is_written else value


def _refuse_elsewhere(place: Place) -> None:
    written = place.take_inventory(ENVIRONMENT)["written"]
    elsewhere = [f"'{name}' ({address})" for name, entry in written.items() for address in place.outside(entry)]
    if elsewhere:
        raise ReproductionError(
            f"The run would write outside of the reproduction: {', '.join(elsewhere)}. Nothing was run. A reproduction "
            "can turn a dataset to itself whose address in the catalog begins with one of the paths in globals.yml."
        )


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(yaml.safe_dump(dict(content)), encoding="utf-8")
