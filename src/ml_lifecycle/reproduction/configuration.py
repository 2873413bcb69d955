"""The configuration of a place: the recorded parameters, and paths that are the reproduction's own."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ml_lifecycle.reproduction.place import ENVIRONMENT, Place, ReproductionError

BASE = "base"
#: Where a place puts what would lie outside of it.
_MOVED_IN = "build/reproduced"


def refuse_unknown_store(project: Path, on: str) -> None:
    """See that the environment whose store is asked for has one.

    Raises:
        ReproductionError: it has none.
    """
    conf = project / "conf"
    if on != BASE and not (conf / on / "credentials.yml").exists():
        known = ", ".join([BASE, *sorted(file.parent.name for file in conf.glob("*/credentials.yml"))])
        raise ReproductionError(f"The environment '{on}' has no store to write to. Allowed: {known}.")


def configure(place: Place, on: str, own: str) -> None:
    """Write an environment with the recorded parameters, and with paths that are the reproduction's own.

    Args:
        place: whose configuration is written.
        on: the environment whose store the tables go to; ``base`` for files.
        own: the folder of the reproduction in the buckets of that store.

    Raises:
        ReproductionError: a dataset would be written elsewhere.
    """
    conf, recorded = place.tree / "conf", place.run.kedro_environment
    target = conf / ENVIRONMENT
    target.mkdir(parents=True)
    if recorded != BASE:
        for file in (conf / recorded).glob("catalog*.yml"):
            shutil.copyfile(file, target / file.name)
    content = place.loader(ENVIRONMENT if recorded == BASE else recorded)["globals"]
    local = {name: str(path) for name, path in content["paths"].items() if "://" not in str(path)}
    paths = {name: path if place.holds(path) else f"{_MOVED_IN}/{name}" for name, path in local.items()}
    chosen: dict[str, Any] = {"registry": {"model": content["registry"]["model"]}} if "registry" in content else {}
    if on != BASE:
        store = _read(conf / on / "globals.yml")
        credentials = store["store"]["credentials"]
        _write(target / "credentials.yml", {credentials: _read(conf / on / "credentials.yml")[credentials]})
        remote = {name: path for name, path in store["paths"].items() if "://" in path}
        paths |= {name: _in_bucket(path, own) for name, path in remote.items()}
        chosen["store"] = {"credentials": credentials}
    _write(target / "globals.yml", {**chosen, "paths": paths})
    _write(target / "parameters.yml", place.run.parameters)
    _refuse_elsewhere(place, own)


def _in_bucket(url: str, own: str) -> str:
    """A place of this reproduction in the bucket of a path."""
    scheme, _, rest = url.partition("://")
    bucket, _, path = rest.partition("/")
    return f"{scheme}://{bucket}/{own}/{path}"


def _refuse_elsewhere(place: Place, own: str) -> None:
    elsewhere = {
        name: address
        for name, address in place.addresses.items()
        if not (f"/{own}/" in address if "://" in address else place.holds(address))
    }
    if elsewhere:
        told = ", ".join(f"'{name}' ({address})" for name, address in sorted(elsewhere.items()))
        raise ReproductionError(
            f"A run would write outside of the reproduction: {told}. Its catalog names an address instead of one of "
            "${globals:paths…}, which a reproduction can turn to itself."
        )


def _read(file: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {})


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(yaml.safe_dump(dict(content)), encoding="utf-8")
