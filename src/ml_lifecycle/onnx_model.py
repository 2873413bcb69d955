"""A model as one ONNX file that describes itself: its roles and threshold are inside the bytes.

They are read through ONNX Runtime, which answers with the model; the library ``onnx`` is for those who change it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import onnxruntime

from ml_lifecycle.roles import TableRoles

if TYPE_CHECKING:
    import onnx

ROLES = "ml_lifecycle.roles"
THRESHOLD = "ml_lifecycle.threshold"
OUTPUT = "probability"


@dataclass(frozen=True)
class OnnxModel:
    """The bytes of a binary classifier with one input per feature column."""

    content: bytes = field(repr=False)

    def __reduce__(self) -> tuple[type[Self], tuple[bytes]]:
        """A copy is made of the bytes; an open session stays where it is."""
        return type(self), (self.content,)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the bytes: the identity of the model."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def proto(self) -> "onnx.ModelProto":
        """The parsed graph."""
        import onnx

        return onnx.load_model_from_string(self.content)

    @cached_property
    def _notes(self) -> dict[str, str]:
        return dict(self._session.get_modelmeta().custom_metadata_map)

    @cached_property
    def roles(self) -> TableRoles:
        """What the model's columns are for."""
        return TableRoles.model_validate_json(self._notes[ROLES])

    @cached_property
    def threshold(self) -> float:
        """Probabilities from here on decide for the positive label."""
        return float(json.loads(self._notes[THRESHOLD]))

    @cached_property
    def _inputs(self) -> list[str]:
        return self.roles.columns

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only
        options.intra_op_num_threads = 1  # threads share out the trees, and the order of sums with them
        options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(self.content, options, providers=["CPUExecutionProvider"])

    def predict(self, columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Return the probability of the positive label for each row.

        Args:
            columns: the features, one array of n values each: float32, or text as objects.

        Returns:
            n probabilities.
        """
        inputs = {name: columns[name] for name in self._inputs}
        probabilities: npt.NDArray[np.float32] = self._session.run([OUTPUT], inputs)[0]
        return probabilities
