"""A worktree in which a run is repeated, and what its commands may know."""

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
from kedro.config import AbstractConfigLoader, MissingConfigException
from kedro.framework.project import settings
from kedro.io import CatalogConfigResolver

from ml_lifecycle.errors import LifecycleError
from ml_lifecycle.provenance.record import RunRecord

#: Ignored by Git, so that the worktree stays as its commit.
ENVIRONMENT = "local/reproduce"
#: What Kedro's catalog takes for names it does not know; without it, a warning.
_IN_MEMORY = {"{default}": {"type": "kedro.io.MemoryDataset"}}
#: What the code of another commit gets to know: programs, languages, proxies and certificates. No key is among it.
_KNOWN = re.compile(
    r"^(PATH|HOME|USER|LANG|LC_\w+|TZ|TMPDIR|LD_LIBRARY_PATH|OMP_NUM_THREADS|OPENBLAS_NUM_THREADS|MKL_NUM_THREADS"
    r"|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|GIT_CONFIG_GLOBAL|GIT_CONFIG_NOSYSTEM|DVC_SITE_CACHE_DIR)$"
    r"|^(http|https|no|all)_proxy$",
    re.IGNORECASE,
)
_PROGRESS = re.compile(r"Completed (\d+) out of (\d+) tasks")


class ReproductionError(LifecycleError):
    """A version that cannot be made again here."""


@dataclass(frozen=True)
class Place:
    """A worktree in which a run is repeated, with an environment that was built in it, or in another.

    Attributes:
        tree: the worktree.
        run: the record of the run.
        environment: the folder of the virtual environment.
        say: is told how far it is.
    """

    tree: Path
    run: RunRecord
    environment: Path
    say: Callable[[str], None] = print

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return self.environment / "bin/python"

    def variables(self, *beside: re.Pattern[str]) -> dict[str, str]:
        """The variables of its commands: a few known ones, and those that fit one of the patterns ``beside``."""
        allowed = (_KNOWN, *beside)
        kept = {name: value for name, value in os.environ.items() if any(known.match(name) for known in allowed)}
        return {
            **kept,
            "PATH": f"{self.python.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.tree / "src"),
        }

    def call(self, *command: str, variables: Mapping[str, str]) -> None:
        """Run a command in it, and pass on how far it is; whoever is interrupted ends it first.

        Raises:
            ReproductionError: it cannot be run, or failed.
        """
        said: list[str] = []
        try:
            process = subprocess.Popen(
                command, cwd=self.tree, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        except OSError as error:
            raise ReproductionError(f"{command[0]} cannot be run: {error.strerror}.") from error
        with process:
            try:
                for line in process.stdout or ():
                    said.append(line.rstrip())
                    if done := _PROGRESS.search(line):
                        self.say(f"  {done[1]} of {done[2]} steps")
            except BaseException:
                process.terminate()
                raise
        if process.returncode:
            last = " | ".join(said[-3:])
            raise ReproductionError(f"`{' '.join(map(os.path.basename, command[:5]))} …` failed: {last}")

    def loader(self, environment: str) -> AbstractConfigLoader:
        """Its configuration in an environment of Kedro."""
        arguments = {**settings.CONFIG_LOADER_ARGS, "custom_resolvers": {"in_project": self._in_tree}}
        loader: AbstractConfigLoader = settings.CONFIG_LOADER_CLASS(
            str(self.tree / "conf"), env=environment, **arguments
        )
        return loader

    def _in_tree(self, path: str) -> str:
        return str(self.tree / path)

    @cached_property
    def _catalog(self) -> CatalogConfigResolver:
        loader = self.loader(ENVIRONMENT)
        try:
            credentials = loader["credentials"]
        except MissingConfigException:
            credentials = {}
        return CatalogConfigResolver(loader["catalog"], credentials, default_runtime_patterns=_IN_MEMORY)

    @property
    def addresses(self) -> dict[str, str]:
        """Where the datasets of its catalog lie: paths, or addresses of a store."""
        entries = {name: entry.get("dataset", entry) for name, entry in self._catalog.config.items()}
        return {
            name: str(entry["filepath"])
            for name, entry in entries.items()
            if isinstance(entry, Mapping) and "filepath" in entry
        }

    def holds(self, path: str) -> bool:
        """Whether a local path lies in the worktree."""
        return (self.tree / path).resolve().is_relative_to(self.tree.resolve())

    def file_of(self, dataset: str) -> tuple[Any, str]:
        """File system and path of a dataset."""
        entry = self._catalog.config.get(dataset) or self._catalog.resolve_pattern(dataset)
        entry = entry.get("dataset", entry)
        url, options = str(entry["filepath"]), entry.get("credentials") or {}
        found: tuple[Any, str] = fsspec.core.url_to_fs(url if "://" in url else str(self.tree / url), **options)
        return found

    def read(self, dataset: str) -> bytes:
        """Read what a run wrote."""
        files, path = self.file_of(dataset)
        return bytes(files.cat_file(path))
