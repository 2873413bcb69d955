"""A model that answers: verified, loaded and warmed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ml_lifecycle import features
from ml_lifecycle.api.records import Records
from ml_lifecycle.onnx_model import OnnxModel

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ServedModel:
    """A version of a model, with what is told about it.

    ``facts`` is the answer to GET /model; ``mlflow_version`` is of the MLflow that stored it.
    """

    name: str
    version: str
    model: OnnxModel = field(repr=False)
    records: Records = field(repr=False)
    facts: dict[str, Any] = field(repr=False)
    mlflow_version: str

    def features(self, columns: dict[str, Array]) -> dict[str, Array]:
        """Compute the features from the columns of requests, n rows each."""
        roles = self.model.roles
        return features.compute(roles.feature_set, columns, roles.numeric, roles.categorical)

    @cached_property
    def _threshold(self) -> float:
        """In the precision of the probabilities: batch scoring compares in it, as numpy does."""
        return float(np.float32(self.model.threshold))

    def decide(self, probabilities: Sequence[float]) -> list[str]:
        """Name the label that each of n probabilities, float32 in their values, decides for."""
        (negative, positive), threshold = self.model.roles.labels, self._threshold
        return [positive if probability >= threshold else negative for probability in probabilities]

    def warm_up(self, rows: Sequence[int]) -> None:
        """Answer the example, in each number of rows: so it is seen to answer, and the first caller need not wait."""
        record, _ = self.records.decode(msgspec.json.encode(self.facts["request"]["example"]))
        for count in rows:
            columns = self.records.columns(record * count)
            self.decide(self.model.predict(self.features(columns)).tolist())
