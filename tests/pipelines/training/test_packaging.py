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


@pytest.fixture
def parts(onnx_model: OnnxModel, probe: pd.DataFrame, training_record: dict[str, Any]) -> dict[str, Any]:
    """What one run leaves to be packaged."""
    return {
        "onnx_model": onnx_model,
        "probe_set": probe,
        "evaluation": {"model_sha256": onnx_model.digest, "rows": 2},
        "data_report": {"raw_inputs": RAW},
        "model_card": f"# Model card\n\nSHA-256 {onnx_model.digest}",
        "training_record": training_record,
    }


def test_the_candidate_carries_the_origin_of_its_model(parts: dict[str, Any], run_record: RunRecord) -> None:
    """The record holds the digests of model and probe, the raw inputs and the run that made the model."""
    provenance = package_model(**parts).provenance
    expected = parts["onnx_model"].digest, digest_of_probe(parts["probe_set"])
    assert expected == (provenance.model_sha256, provenance.probe_sha256)
    assert (run_record, RAW) == (provenance.run, provenance.model_dump()["raw_inputs"])


def test_the_candidate_is_made_of_what_was_given(parts: dict[str, Any]) -> None:
    """Model, probe, evaluation and card are handed on as they are."""
    candidate = package_model(**parts)
    expected = parts["onnx_model"], parts["evaluation"], parts["model_card"]
    assert expected == (candidate.model, candidate.evaluation, candidate.model_card)
    pd.testing.assert_frame_equal(parts["probe_set"], candidate.probe)


@pytest.mark.parametrize(
    ("replaced", "strange"),
    [
        (("onnx_model",), "record of training, evaluation, model card"),
        (("onnx_model", "training_record"), "evaluation, model card"),
        (("onnx_model", "training_record", "model_card"), "evaluation"),
        (("evaluation",), "evaluation"),
        (("model_card",), "model card"),
        (("training_record",), "record of training"),
    ],
)
def test_parts_of_two_models_are_refused(
    parts: dict[str, Any], run_record: RunRecord, replaced: tuple[str, ...], strange: str
) -> None:
    """Parts that two runs left make no candidate; one line names them, the model at hand, and what to do."""
    model = parts["onnx_model"]
    other = export.seal(model.proto, model.roles, threshold=0.6)
    of_other = {
        "onnx_model": other,
        "training_record": record_training(other, run_record),
        "evaluation": {**parts["evaluation"], "model_sha256": other.digest},
        "model_card": f"SHA-256 {other.digest}",
    }
    mixed = parts | {name: of_other[name] for name in replaced}
    with pytest.raises(ProvenanceError) as caught:
        package_model(**mixed)
    message = caught.value.message
    assert f"with SHA-256 {mixed['onnx_model'].digest}: {strange}. They come from different runs." in message
    assert "Nothing was registered. Train again: `kedro run --pipelines training`" in message
    assert "\n" not in message


@pytest.mark.parametrize("part", ["model_sha256", "run"])
def test_an_incomplete_record_of_training_is_refused(part: str, parts: dict[str, Any]) -> None:
    """A record of training that lacks a part makes no candidate; the error names what is missing."""
    parts["training_record"] = {key: value for key, value in parts["training_record"].items() if key != part}
    with pytest.raises(ValidationError, match=rf"^1 validation error for TrainingRecord\n{part}\n"):
        package_model(**parts)


@pytest.mark.parametrize("part", ["path", "md5", "size"])
def test_an_incomplete_record_is_refused(part: str, parts: dict[str, Any]) -> None:
    """A raw input of which something is unknown makes no candidate; the error names what is missing."""
    raw = {"customers": {key: value for key, value in RAW["customers"].items() if key != part}}
    parts["data_report"] = {"raw_inputs": raw}
    with pytest.raises(ValidationError, match=rf"customers\.{part}"):
        package_model(**parts)
