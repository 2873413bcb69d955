"""The node that puts together what the registry stores."""

from typing import Any

import pandas as pd

from ml_lifecycle.model_version import Candidate
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.provenance.record import Provenance, RunRecord, digest_of_probe


def package_model(
    onnx_model: OnnxModel,
    probe_set: pd.DataFrame,
    evaluation: dict[str, Any],
    data_report: dict[str, Any],
    run_record: RunRecord,
) -> Candidate:
    """Put the model together with the complete record of its origin.

    Raises:
        pydantic.ValidationError: a part of the record is missing; nothing is registered.
    """
    provenance = Provenance(
        run=run_record,
        raw_inputs=data_report["raw_inputs"],
        model_sha256=onnx_model.digest,
        probe_sha256=digest_of_probe(probe_set),
    )
    return Candidate(onnx_model, probe_set, evaluation, provenance)
