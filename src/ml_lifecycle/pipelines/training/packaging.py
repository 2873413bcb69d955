"""Nodes that put together what the registry stores."""

from typing import Any

import pandas as pd

from ml_lifecycle.errors import ProvenanceError
from ml_lifecycle.model_version import Candidate
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.provenance.record import (
    DataRecord,
    Provenance,
    RunRecord,
    TrainingRecord,
    digest_of_probe,
    digest_of_table,
)


def record_training(
    onnx_model: OnnxModel, model_input: pd.DataFrame, data_record: dict[str, Any], run_record: RunRecord
) -> dict[str, Any]:
    """Note which runs made the model and its data, so that a later run can register it and tell its true origin.

    Raises:
        ProvenanceError: the table is not the one that the record of the data is about.
    """
    data = DataRecord.model_validate(data_record)
    found = digest_of_table(model_input)
    if found != data.model_input_sha256:
        raise ProvenanceError(
            f"The table of model input is not the one that data_engineering made: recorded SHA-256 "
            f"{data.model_input_sha256}, found {found}. Nothing was registered. Make it again: "
            "`kedro run --pipelines data_engineering`, with the --env of this run."
        )
    record = TrainingRecord(model_sha256=onnx_model.digest, run=run_record, data=data)
    return record.model_dump(mode="json")


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
        data=training.data,
        raw_inputs=data_report["raw_inputs"],
        model_sha256=onnx_model.digest,
        probe_sha256=digest_of_probe(probe_set),
        judge_sha256=evaluation["judge_sha256"],
    )
    return Candidate(onnx_model, probe_set, evaluation, data_report, model_card, provenance)
