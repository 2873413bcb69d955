"""A model on its way into the registry, and as it comes out."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.provenance.record import Provenance


@dataclass(frozen=True)
class Candidate:
    """A finished model, with all that is told about it and the complete record of its origin."""

    model: OnnxModel
    probe: pd.DataFrame
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
