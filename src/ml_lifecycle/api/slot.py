"""The model that answers now."""

from dataclasses import dataclass

from ml_lifecycle.api.batcher import Batcher
from ml_lifecycle.api.problems import not_ready
from ml_lifecycle.api.served_model import ServedModel


@dataclass(frozen=True)
class Serving:
    """A model with what answers by it; a request takes it once, and finishes with it."""

    model: ServedModel
    batcher: Batcher


class Slot:
    """Holds the model that answers; replacing it is one assignment, so no request sees half of two."""

    def __init__(self) -> None:
        self._serving: Serving | None = None
        self.reason = "none was loaded yet"

    def put(self, serving: Serving) -> None:
        """Let a model answer from now on."""
        self._serving = serving
        self.reason = "a verified model answers"

    @property
    def model(self) -> ServedModel | None:
        """The model, if there is one."""
        return self._serving.model if self._serving is not None else None

    def take(self) -> Serving:
        """Give out the model.

        Raises:
            Problem: 503, there is none.
        """
        serving = self._serving
        if serving is None:
            raise not_ready(self.reason)
        return serving
