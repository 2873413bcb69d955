"""The registry as a dataset: a candidate goes in, the version behind an alias comes out."""

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from ml_lifecycle import promotion
from ml_lifecycle.alias_history import AliasHistory
from ml_lifecycle.model_version import Candidate, ModelVersion
from ml_lifecycle.parameters import RegistryOptions
from ml_lifecycle.promotion import Registrar
from ml_lifecycle.registry import registration, versions
from ml_lifecycle.signing.keys import Keys


class RegisteredModelDataset(AbstractDataset[Candidate, ModelVersion]):
    """Saving registers one version; loading takes the version behind the alias, which may be another."""

    def __init__(
        self,
        *,
        registry: dict[str, Any],
        alias: str,
        lock: str,
        keys: str,
        credentials: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Configure the registry entry.

        Args:
            registry: ``registry`` of globals.yml: name of the model, history of its aliases, what a first version gets.
            alias: whose version is loaded.
            lock: file with the pinned requirements.
            keys: folder with the keys to sign and verify with.
            credentials: open the history.
            metadata: for Kedro-Viz.
        """
        self.options = RegistryOptions.model_validate(registry)
        self.name, self.alias, self._lock = self.options.model, alias, Path(lock)
        self.keys = Keys(Path(keys), create=self.options.development_keys)
        self._credentials = credentials
        self.metadata = metadata

    def registrar(self) -> Registrar:
        """Who moves the aliases of this model."""
        return Registrar(self.name, AliasHistory(self.options.history, self._credentials), self.keys)

    def save(self, data: Candidate) -> None:
        """Register the candidate in the active MLflow run."""
        number = registration.register(self.name, data, self._lock, self.keys)
        promotion.promote_first(self.registrar(), number, self.options.promote_first, data.provenance.run.parameters)

    def load(self) -> ModelVersion:
        """Load the version behind the alias."""
        return versions.load(self.name, self.alias, self.keys)

    def _exists(self) -> bool:
        return self.alias in versions.aliases(self.name)

    def _describe(self) -> dict[str, Any]:
        return {"name": self.name, "alias": self.alias}
