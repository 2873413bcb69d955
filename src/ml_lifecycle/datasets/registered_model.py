"""The registry as a dataset: a candidate goes in, the version behind an alias comes out."""

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from ml_lifecycle import registry
from ml_lifecycle.model_version import Candidate, ModelVersion


class RegisteredModelDataset(AbstractDataset[Candidate, ModelVersion]):
    """Saving registers one version; loading takes the version behind the alias, which may be another."""

    def __init__(
        self, *, name: str, alias: str, lock: str, promote_first: bool, metadata: dict[str, Any] | None = None
    ) -> None:
        """Configure the registry entry.

        Args:
            name: of the registered model.
            alias: whose version is loaded.
            lock: file with the pinned requirements.
            promote_first: whether the first version that beats its baselines gets the aliases.
            metadata: for Kedro-Viz.
        """
        self.name, self.alias = name, alias
        self._lock, self._promote_first = Path(lock), promote_first
        self.metadata = metadata

    def save(self, data: Candidate) -> None:
        """Register the candidate in the active MLflow run."""
        version = registry.register(self.name, data, self._lock)
        if self._promote_first:
            registry.promote_first(self.name, version, data.evaluation)

    def load(self) -> ModelVersion:
        """Load the version behind the alias."""
        return registry.load(self.name, self.alias)

    def _exists(self) -> bool:
        return self.alias in registry.aliases(self.name)

    def _describe(self) -> dict[str, Any]:
        return {"name": self.name, "alias": self.alias}
