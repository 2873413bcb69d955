"""A worktree in which a run is repeated, and what its commands may know."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from ml_lifecycle.errors import ReproductionError
from ml_lifecycle.provenance.record import RunRecord
from ml_lifecycle.reproduction import inventory
from ml_lifecycle.reproduction.store import Store

#: Ignored by Git, so that the worktree stays as its commit.
ENVIRONMENT = "local/reproduce"
#: What the code of another commit gets to know: programs, languages, proxies and certificates. No key is among it.
_KNOWN = re.compile(
    r"^(PATH|HOME|USER|LANG|LC_\w+|TZ|TMPDIR|LD_LIBRARY_PATH|OMP_NUM_THREADS|OPENBLAS_NUM_THREADS|MKL_NUM_THREADS"
    r"|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|GIT_CONFIG_GLOBAL|GIT_CONFIG_NOSYSTEM|DVC_SITE_CACHE_DIR)$"
    r"|^(http|https|no|all)_proxy$",
    re.IGNORECASE,
)
#: Types of datasets that are written to memory, or to the tracking store, which a worktree has for itself.
_HARMLESS = re.compile(r"(^|\.)MemoryDataset$|^kedro_mlflow\.")
_PROGRESS = re.compile(r"Completed (\d+) out of (\d+) tasks")


@dataclass(frozen=True)
class Place:
    """A worktree in which a run is repeated.

    Attributes:
        tree: the worktree.
        run: the record of the run.
        venv: the folder of the virtual environment, in this worktree or in another.
        pipelines: what is run in it.
        outputs: what the run goes up to.
        given: what is written into it before, from another place.
        store: where its tables go to; None for files.
        say: is told how far it is.
    """

    tree: Path
    run: RunRecord
    venv: Path
    pipelines: list[str]
    outputs: list[str]
    given: list[str]
    store: Store | None = None
    say: Callable[[str], None] = print

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return self.venv / "bin/python"

    @property
    def conf(self) -> Path:
        """The folder of the environment that a reproduction writes."""
        return self.tree / "conf" / ENVIRONMENT

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

    def take_inventory(self, environment: str) -> dict[str, Any]:
        """Ask which globals an environment of Kedro has, and what a run in it writes, and where.

        Raises:
            ReproductionError: the configuration or the pipelines of the commit cannot be read.
        """
        file = self._inventory_of(environment)
        lists = (",".join(names) for names in (self.pipelines, self.outputs, self.given))
        self.call(
            str(self.python), "-P", inventory.__file__, str(file), environment, *lists, variables=self.variables()
        )
        return dict(json.loads(file.read_text(encoding="utf-8")))

    def _inventory_of(self, environment: str) -> Path:
        return self.tree.parent / f"{self.tree.name}-{environment.replace('/', '-')}.json"

    def holds(self, path: str) -> bool:
        """Whether a local path lies in the worktree, also after every link is followed."""
        return "://" not in path and (self.tree / path).resolve().is_relative_to(self.tree.resolve())

    def outside(self, entry: Mapping[str, Any]) -> list[str]:
        """The addresses of a dataset that lie elsewhere; the type of one that has none, as a table of a database."""
        named, kind = list(_addresses(entry)), str(entry.get("type"))
        if not named and not _HARMLESS.search(kind):
            return [kind]
        return [address for address in named if not (self.holds(address) or (self.store and self.store.holds(address)))]

    def address_of(self, dataset: str) -> str:
        """Where a dataset lies that a run writes.

        Raises:
            ReproductionError: it is no plain file.
        """
        written = json.loads(self._inventory_of(ENVIRONMENT).read_text(encoding="utf-8"))["written"]
        entry = written[dataset]
        while isinstance(entry.get("dataset"), Mapping):
            entry = entry["dataset"]
        if "filepath" not in entry or entry.get("versioned"):
            raise ReproductionError(f"'{dataset}' cannot be compared: its catalog entry names no plain file ({entry}).")
        return str(entry["filepath"])

    def file_of(self, dataset: str) -> tuple[Any, str]:
        """File system and path of a dataset that a run writes."""
        address = self.address_of(dataset)
        if self.store is None or self.holds(address):
            return fsspec.filesystem("file"), str(self.tree / address)
        return self.store.file_of(address)

    def read(self, dataset: str) -> bytes:
        """Read what a run wrote."""
        files, path = self.file_of(dataset)
        return bytes(files.cat_file(path))


def _addresses(entry: Any) -> Iterator[str]:
    if isinstance(entry, Mapping):
        for key, value in entry.items():
            if key in {"filepath", "path"} and isinstance(value, str):
                yield value
            elif key == "dataset":
                yield from _addresses(value)
