"""A model on its way into the registry, and as it comes out."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.provenance.record import Provenance

if TYPE_CHECKING:  # a service that answers needs no tables
    import pandas as pd


@dataclass(frozen=True)
class Candidate:
    """A finished model, with all that is told about it and the complete record of its origin."""

    model: OnnxModel
    probe: "pd.DataFrame"
    evaluation: dict[str, Any]
    data_report: dict[str, Any]
    model_card: str
    provenance: Provenance


@dataclass(frozen=True)
class ModelVersion:
    """A registered version of a model, ready to answer."""

    name: str
    version: str
    model: OnnxModel
