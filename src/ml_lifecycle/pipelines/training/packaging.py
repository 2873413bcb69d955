"""Nodes that put together what the registry stores."""

from typing import Any

import pandas as pd

from ml_lifecycle.errors import ProvenanceError
from ml_lifecycle.model_version import Candidate
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.provenance.record import Provenance, RunRecord, TrainingRecord, digest_of_probe


def record_training(onnx_model: OnnxModel, run_record: RunRecord) -> dict[str, Any]:
    """Note which run made the model, so that another run can register it and still tell its true origin."""
    return TrainingRecord(model_sha256=onnx_model.digest, run=run_record).model_dump(mode="json")


def package_model(
    onnx_model: OnnxModel,
    probe_set: pd.DataFrame,
    evaluation: dict[str, Any],
    data_report: dict[str, Any],
    model_card: str,
    training_record: dict[str, Any],
) -> Candidate:
    """Put the model together with the complete record of its origin.

    The last step of training: what it takes, the card above all, needs every other result.

    Raises:
        ProvenanceError: record of training, evaluation or card belong to another model.
        pydantic.ValidationError: a part of the record is missing; nothing is registered.
    """
    training = TrainingRecord.model_validate(training_record)
    about = {
        "record of training": training.model_sha256 == onnx_model.digest,
        "evaluation": evaluation.get("model_sha256") == onnx_model.digest,
        "model card": onnx_model.digest in model_card,
    }
    if strange := [name for name, is_about_this_model in about.items() if not is_about_this_model]:
        raise ProvenanceError(
            f"Of another model than the one at hand, with SHA-256 {onnx_model.digest}: {', '.join(strange)}. They come "
            "from different runs. Nothing was registered. Train again: `kedro run --pipelines training`, with the "
            "--env of this run."
        )
    provenance = Provenance(
        run=training.run,
        raw_inputs=data_report["raw_inputs"],
        model_sha256=onnx_model.digest,
        probe_sha256=digest_of_probe(probe_set),
    )
    return Candidate(onnx_model, probe_set, evaluation, model_card, provenance)
