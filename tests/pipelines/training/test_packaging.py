"""What the registry stores: a model with its complete origin, or nothing."""

import json
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from ml_lifecycle import export
from ml_lifecycle.errors import ProvenanceError
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.pipelines.training.packaging import package_model, record_training
from ml_lifecycle.provenance.record import RunRecord, TrainingRecord, digest_of_probe

CARD = "# Model card"
RAW = {"customers": {"path": "data/01_raw/customers.csv", "md5": "0" * 32, "size": 10}}


@pytest.fixture
def probe() -> pd.DataFrame:
    """Two rows with their answers."""
    return pd.DataFrame({"row_key": ["a", "b"], "probability": np.array([0.1, 0.9], np.float32)})


@pytest.fixture
def training_record(onnx_model: OnnxModel, run_record: RunRecord) -> dict[str, Any]:
    """What the run that made the model noted."""
    return record_training(onnx_model, run_record)


def test_the_record_of_training_names_model_and_run(
    onnx_model: OnnxModel, run_record: RunRecord, training_record: dict[str, Any]
) -> None:
    """The record holds the digest of the model and the run that made it, and nothing else."""
    expected = TrainingRecord(model_sha256=onnx_model.digest, run=run_record)
    assert expected == TrainingRecord.model_validate(training_record)
    assert {"model_sha256", "run"} == set(training_record)


def test_the_record_of_training_is_plain(onnx_model: OnnxModel, run_record: RunRecord) -> None:
    """What is written as JSON is read as it was, whatever a parameter is."""
    run = run_record.model_copy(update={"parameters": {"since": date(2013, 10, 1)}})
    record = record_training(onnx_model, run)
    assert record == json.loads(json.dumps(record))


def test_the_candidate_carries_the_origin_of_its_model(
    onnx_model: OnnxModel, probe: pd.DataFrame, run_record: RunRecord, training_record: dict[str, Any]
) -> None:
    """The record holds the digests of model and probe, the raw inputs and the run that made the model."""
    provenance = package_model(onnx_model, probe, {}, {"raw_inputs": RAW}, CARD, training_record).provenance
    assert (onnx_model.digest, digest_of_probe(probe)) == (provenance.model_sha256, provenance.probe_sha256)
    assert (run_record, RAW) == (provenance.run, provenance.model_dump()["raw_inputs"])


def test_the_candidate_is_made_of_what_was_given(
    onnx_model: OnnxModel, probe: pd.DataFrame, training_record: dict[str, Any]
) -> None:
    """Model, probe, evaluation and card are handed on as they are."""
    candidate = package_model(onnx_model, probe, {"rows": 2}, {"raw_inputs": RAW}, CARD, training_record)
    assert (onnx_model, {"rows": 2}, CARD) == (candidate.model, candidate.evaluation, candidate.model_card)
    pd.testing.assert_frame_equal(probe, candidate.probe)


def test_the_record_of_another_model_is_refused(
    onnx_model: OnnxModel, probe: pd.DataFrame, training_record: dict[str, Any]
) -> None:
    """A model whose training left no record makes no candidate; one line names both models and says what to do."""
    other = export.seal(onnx_model.proto, onnx_model.roles, threshold=0.6)
    with pytest.raises(ProvenanceError) as caught:
        package_model(other, probe, {}, {"raw_inputs": RAW}, CARD, training_record)
    message = caught.value.message
    assert f"with SHA-256 {onnx_model.digest}, the model at hand has {other.digest}" in message
    assert "Nothing was registered. Train again: `kedro run --pipelines training`." in message
    assert "\n" not in message


@pytest.mark.parametrize("part", ["model_sha256", "run"])
def test_an_incomplete_record_of_training_is_refused(
    part: str, onnx_model: OnnxModel, probe: pd.DataFrame, training_record: dict[str, Any]
) -> None:
    """A record of training that lacks a part makes no candidate; the error names what is missing."""
    record = {key: value for key, value in training_record.items() if key != part}
    with pytest.raises(ValidationError, match=rf"^1 validation error for TrainingRecord\n{part}\n"):
        package_model(onnx_model, probe, {}, {"raw_inputs": RAW}, CARD, record)


@pytest.mark.parametrize("part", ["path", "md5", "size"])
def test_an_incomplete_record_is_refused(
    part: str, onnx_model: OnnxModel, probe: pd.DataFrame, training_record: dict[str, Any]
) -> None:
    """A raw input of which something is unknown makes no candidate; the error names what is missing."""
    raw: dict[str, Any] = {"customers": {key: value for key, value in RAW["customers"].items() if key != part}}
    with pytest.raises(ValidationError, match=rf"customers\.{part}"):
        package_model(onnx_model, probe, {}, {"raw_inputs": raw}, CARD, training_record)
