"""What the commands about models work with: one environment of the project, its registry, history and keys."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.framework.context import KedroContext
from kedro.framework.session import KedroSession
from kedro.io import CatalogProtocol, DatasetError
from kedro.utils import find_kedro_project

from ml_lifecycle.datasets.registered_model import RegisteredModelDataset
from ml_lifecycle.errors import ConfigurationError, DataContractError, ProvenanceError
from ml_lifecycle.nested import flat
from ml_lifecycle.parameters import ExportOptions, GateOptions
from ml_lifecycle.promotion import Circumstances, Registrar
from ml_lifecycle.provenance.committed import parameters_at
from ml_lifecycle.registry import versions
from ml_lifecycle.registry.versions import Version
from ml_lifecycle.signing.keys import Keys

MODEL_ENTRY, LOG_ENTRY = "registered_model", "prediction_log"


@dataclass(frozen=True)
class Workspace:
    """An environment of the project."""

    project: Path
    environment: str
    context: KedroContext

    @cached_property
    def catalog(self) -> CatalogProtocol[Any, Any]:
        """Its datasets."""
        return self.context.catalog

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Its parameters, as its files had them when they were first asked for.

        Kept, because Kedro's resolvers are of the whole process: reading another commit's configuration changes them.
        """
        return dict(self.context.config_loader["parameters"])

    @property
    def gate(self) -> GateOptions:
        """What its gate asks for."""
        return GateOptions.model_validate(self.parameters["gate"])

    @property
    def circumstances(self) -> Circumstances:
        """Under what its versions are judged."""
        tolerance = ExportOptions.model_validate(self.parameters["export"]).tolerance
        return Circumstances(tolerance, self.gate.question, self._uncommitted(), self.table)

    def _uncommitted(self) -> list[str] | None:
        """Name the parameters of the gate that the last commit gives otherwise; None if that cannot be told."""
        own = self.parameters  # before the other ones: see there
        try:
            committed = parameters_at(self.project, "HEAD", self.environment)
        except (ProvenanceError, ValueError):
            return None
        mine, theirs = (flat({"gate": parameters.get("gate", {})}) for parameters in (own, committed))
        return sorted(path for path in {*mine, *theirs} if mine.get(path) != theirs.get(path))

    @cached_property
    def _entry(self) -> RegisteredModelDataset:
        entry = self.catalog[MODEL_ENTRY]
        if not isinstance(entry, RegisteredModelDataset):
            raise ConfigurationError(
                f"The catalog's '{MODEL_ENTRY}' is a {type(entry).__name__}, so there is no registry to speak to. "
                "Allowed: ml_lifecycle.datasets.registered_model.RegisteredModelDataset."
            )
        return entry

    @property
    def model(self) -> str:
        """Name of the registered model."""
        return self._entry.name

    @property
    def keys(self) -> Keys:
        """The keys to sign and verify with."""
        return self._entry.keys

    @cached_property
    def registrar(self) -> Registrar:
        """Who moves its aliases."""
        return self._entry.registrar()

    @property
    def prediction_log(self) -> tuple[str, dict[str, Any] | None]:
        """Address of the prediction log, and how to open it."""
        loader = self.context.config_loader
        entry = loader["globals"]["store"]["credentials"]
        path = f"{loader['globals']['paths']['model_output']}/{LOG_ENTRY}"
        is_remote = "://" in path
        return path if is_remote else str(self.project / path), loader["credentials"][entry] if entry else None

    def find(self, reference: str) -> Version:
        """Find a version by number, alias or digest."""
        return versions.find(self.model, reference)

    def table(self, name: str) -> pd.DataFrame:
        """Load a table of the catalog.

        Raises:
            DataContractError: it is not there, or cannot be read.
        """
        try:
            return pd.DataFrame(self.catalog.load(name))
        except DatasetError as error:
            raise DataContractError(
                f"the table '{name}' cannot be loaded: run data_engineering ({str(error).splitlines()[0]})"
            ) from error


@contextlib.contextmanager
def open_workspace(environment: str | None) -> Iterator[Workspace]:
    """Open the project around the current folder in one of its environments."""
    project = find_kedro_project(Path.cwd()) or Path.cwd()
    with KedroSession.create(project_path=project, env=environment) as session:
        context: KedroContext = session.load_context()  # type: ignore[attr-defined]  # of the class that is there
        yield Workspace(project, environment or "base", context)
