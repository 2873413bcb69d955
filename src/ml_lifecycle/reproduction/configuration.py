"""The configuration of a place: the recorded parameters, and paths that are the reproduction's own."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf.errors import InterpolationResolutionError

from ml_lifecycle.reproduction.place import ENVIRONMENT, Place, ReproductionError, resolved

BASE = "base"
#: Where a place puts what would be written outside of it.
_MOVED_IN = "build/reproduced"


def refuse_unknown_store(project: Path, on: str) -> None:
    """See that the environment whose store is asked for has one, and that its variables are set.

    Raises:
        ReproductionError: it has none, or one is not set.
    """
    conf = project / "conf"
    if on == BASE:
        return
    if not (conf / on / "credentials.yml").exists():
        known = ", ".join([BASE, *sorted(file.parent.name for file in conf.glob("*/credentials.yml"))])
        raise ReproductionError(f"The environment '{on}' has no store to write to. Allowed: {known}.")
    try:
        resolved(_store_of(conf / on))
    except InterpolationResolutionError as error:
        told = str(error).splitlines()[0]
        raise ReproductionError(
            f"The store of the environment '{on}' cannot be opened: {told}. Copy .env.example to .env, fill "
            "it in, and: `set -a; source .env; set +a`."
        ) from error


def _store_of(conf: Path) -> dict[str, Any]:
    """The entry of the credentials that opens the store of an environment."""
    name = _read(conf / "globals.yml")["store"]["credentials"]
    return {name: _read(conf / "credentials.yml")[name]}


def configure(place: Place, project: Path, on: str, own: str) -> None:
    """Write an environment with the recorded parameters, and with paths that are the reproduction's own.

    Its globals are those of the recorded environment, but for paths to which the run would write, and which lead out of
    the worktree. What is only read stays where it is.

    Args:
        place: whose configuration is written; its virtual environment is there.
        project: the clone of the caller, with the environment ``on``.
        on: the environment whose store the tables go to; ``base`` for files.
        own: the folder of the reproduction in the buckets of that store.

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
    if on != BASE:
        conf = project / "conf" / on
        credentials = _store_of(conf)
        _write(place.conf / "credentials.yml", credentials)
        (content["store"]["credentials"],) = credentials
        remote = {name: path for name, path in _read(conf / "globals.yml")["paths"].items() if "://" in path}
        content["paths"] = content.get("paths", {}) | {name: _in_bucket(path, own) for name, path in remote.items()}
    _write(place.conf / "globals.yml", content)
    _write(place.conf / "parameters.yml", place.run.parameters)
    _write(place.conf / "mlflow.yml", _tracking(place))
    _refuse_elsewhere(place, own)
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


def _in_bucket(url: str, own: str) -> str:
    """A place of this reproduction in the bucket of a path."""
    scheme, _, rest = url.partition("://")
    bucket, _, path = rest.partition("/")
    return f"{scheme}://{bucket}/{own}/{path}"


def own_folders(place: Place, own: str) -> set[str]:
    """The folders of the reproduction in the buckets of a store, as far as they were written into its configuration."""
    file = place.conf / "globals.yml"
    paths = map(str, _read(file)["paths"].values() if file.exists() else [])
    return {f"{path.partition(f'/{own}/')[0]}/{own}" for path in paths if "://" in path and f"/{own}/" in path}


def _refuse_elsewhere(place: Place, own: str) -> None:
    written = place.take_inventory(ENVIRONMENT)["written"]
    elsewhere = {
        name: address
        for name, entry in written.items()
        for address in place.outside(entry)
        if f"/{own}/" not in address
    }
    if elsewhere:
        told = ", ".join(f"'{name}' ({address})" for name, address in elsewhere.items())
        raise ReproductionError(
            f"The run would write outside of the reproduction: {told}. Nothing was run. A reproduction can turn a "
            "dataset to itself whose address in the catalog begins with one of the paths in globals.yml."
        )


def _read(file: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {})


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(yaml.safe_dump(dict(content)), encoding="utf-8")
