"""The object store that the tables of a reproduction may go to, into a folder of its own in each bucket."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import fsspec
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError
from omegaconf.resolvers import oc

from ml_lifecycle.errors import ReproductionError

#: The environment of Kedro whose tables are files.
FILES = "base"


@dataclass(frozen=True)
class Store:
    """The store of an environment of the caller's.

    Attributes:
        own: the folder of the reproduction in each bucket.
        paths: those of the environment that lie in the store, turned into that folder.
        name: what its entry in credentials.yml is called.
        credentials: the entry, with the names of variables.
        options: the entry, with what the variables hold.
    """

    own: str
    paths: dict[str, str]
    name: str
    credentials: dict[str, Any]
    options: dict[str, Any] = field(repr=False)

    def holds(self, address: str) -> bool:
        """Whether an address lies in the folder of the reproduction."""
        return any(address.startswith(f"{folder}/") for folder in self._folders)

    @property
    def _folders(self) -> set[str]:
        return {f"{path.partition(f'/{self.own}/')[0]}/{self.own}" for path in self.paths.values()}

    def file_of(self, address: str) -> tuple[Any, str]:
        """File system and path of an address in it."""
        found: tuple[Any, str] = fsspec.core.url_to_fs(address, **self.options)
        return found

    def clear(self) -> None:
        """Remove the folder of the reproduction from each bucket."""
        for folder in self._folders:
            files, path = self.file_of(folder)
            with contextlib.suppress(FileNotFoundError):
                files.rm(path, recursive=True)


def store_of(project: Path, environment: str, own: str) -> Store | None:
    """The store of an environment; None if its tables are files.

    Raises:
        ReproductionError: the environment has none, or a variable that opens it is not set.
    """
    conf = project / "conf"
    if environment == FILES:
        return None
    if not (conf / environment / "credentials.yml").exists():
        known = ", ".join([FILES, *sorted(file.parent.name for file in conf.glob("*/credentials.yml"))])
        raise ReproductionError(f"The environment '{environment}' has no store to write to. Allowed: {known}.")
    content, entries = (_read(conf / environment / name) for name in ("globals.yml", "credentials.yml"))
    name = content["store"]["credentials"]
    paths = {key: _turned(path, own) for key, path in content["paths"].items() if "://" in path}
    try:
        options = _resolved(entries[name])
    except InterpolationResolutionError as error:
        told = str(error).splitlines()[0]
        raise ReproductionError(
            f"The store of the environment '{environment}' cannot be opened: {told}. `make env` makes .env, "
            "where addresses and keys stand: put in those of your servers, and: `set -a; source .env; set +a`."
        ) from error
    return Store(own, paths, name, entries[name], options)


def _turned(address: str, own: str) -> str:
    scheme, _, rest = address.partition("://")
    bucket, _, path = rest.partition("/")
    return f"{scheme}://{bucket}/{own}/{path}"


def _resolved(entry: Mapping[str, Any]) -> dict[str, Any]:
    OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)  # Kedro takes it away after each use, as here
    try:
        return cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.create(dict(entry)), resolve=True))
    finally:
        OmegaConf.clear_resolver("oc.env")


def _read(file: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
