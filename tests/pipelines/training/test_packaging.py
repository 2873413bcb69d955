"""What the registry stores: a model with its complete origin, or nothing."""

import json
from collections.abc import Callable
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
from ml_lifecycle.provenance.record import DataRecord, RunRecord, TrainingRecord, digest_of_probe, digest_of_table

RAW = {"customers": {"path": "data/01_raw/customers.csv", "md5": "0" * 32, "size": 10}}


@pytest.fixture
def probe() -> pd.DataFrame:
    """Two rows with their answers."""
    return pd.DataFrame({"row_key": ["a", "b"], "probability": np.array([0.1, 0.9], np.float32)})


@pytest.fixture
def noted(data_record: DataRecord) -> dict[str, Any]:
    """What the run that made the data noted, as it comes from its file."""
    return data_record.model_dump(mode="json")


@pytest.fixture
def training_record(
    onnx_model: OnnxModel, model_input: pd.DataFrame, noted: dict[str, Any], run_record: RunRecord
) -> dict[str, Any]:
    """What the run that made the model noted."""
    return record_training(onnx_model, model_input, noted, run_record)


def test_the_record_of_training_names_model_runs_and_data(
    onnx_model: OnnxModel, run_record: RunRecord, data_record: DataRecord, training_record: dict[str, Any]
) -> None:
    """The record holds the digest of the model, the run that made it and the one that made its data, nothing else."""
    expected = TrainingRecord(model_sha256=onnx_model.digest, run=run_record, data=data_record)
    assert expected == TrainingRecord.model_validate(training_record)
    assert {"model_sha256", "run", "data"} == set(training_record)


def test_the_record_of_training_is_plain(
    onnx_model: OnnxModel, model_input: pd.DataFrame, noted: dict[str, Any], run_record: RunRecord
) -> None:
    """What is written as JSON is read as it was, whatever a parameter is."""
    run = run_record.model_copy(update={"parameters": {"since": date(2013, 10, 1)}})
    record = record_training(onnx_model, model_input, noted, run)
    assert record == json.loads(json.dumps(record))


def test_the_record_of_training_keeps_the_changes_of_both_runs(
    onnx_model: OnnxModel, model_input: pd.DataFrame, run_record: RunRecord, data_record: DataRecord
) -> None:
    """What both runs had changed beyond their commits passes through both files, byte by byte."""
    run, data_run = (
        record.model_copy(update={"git": record.git.model_copy(update={"dirty": True, "patch": patch})})
        for record, patch in ((run_record, b"\xff\0\r\n"), (data_record.run, b"\xfe\n"))
    )
    data = data_record.model_copy(update={"run": data_run})
    noted = json.loads(json.dumps(data.model_dump(mode="json")))
    training = json.loads(json.dumps(record_training(onnx_model, model_input, noted, run)))
    assert TrainingRecord(model_sha256=onnx_model.digest, run=run, data=data) == TrainingRecord.model_validate(training)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.iloc[:-1],
        lambda table: table.iloc[::-1],
        lambda table: table.drop(columns="city"),
        lambda table: table.assign(age=table["age"].astype("float64")),
        lambda table: table.assign(row_target=1 - table["row_target"]),
        lambda table: table.assign(balance=table["balance"].fillna(0)),
        lambda table: table.rename(columns={"age": "years"}),
    ],
    ids=["row less", "order", "column less", "type", "label", "missing value", "name"],
)
def test_a_table_of_another_run_is_refused(
    change: Callable[[pd.DataFrame], pd.DataFrame],
    onnx_model: OnnxModel,
    model_input: pd.DataFrame,
    noted: dict[str, Any],
    run_record: RunRecord,
) -> None:
    """A table that is not the one the record of the data is about: one line names both digests and what to do."""
    other = change(model_input)
    with pytest.raises(ProvenanceError) as caught:
        record_training(onnx_model, other, noted, run_record)
    message = caught.value.message
    assert f"recorded SHA-256 {noted['model_input_sha256']}, found {digest_of_table(other)}. Nothing was reg" in message
    assert "`kedro run --pipelines data_engineering`" in message
    assert "\n" not in message


@pytest.mark.parametrize("part", ["model_input_sha256", "run"])
def test_an_incomplete_record_of_the_data_is_refused(
    part: str, onnx_model: OnnxModel, model_input: pd.DataFrame, noted: dict[str, Any], run_record: RunRecord
) -> None:
    """A record of the data that lacks a part is not one; the error names what is missing."""
    del noted[part]
    with pytest.raises(ValidationError, match=rf"^1 validation error for DataRecord\n{part}\n"):
        record_training(onnx_model, model_input, noted, run_record)


@pytest.fixture
def parts(onnx_model: OnnxModel, probe: pd.DataFrame, training_record: dict[str, Any]) -> dict[str, Any]:
    """What one run leaves to be packaged."""
    return {
        "onnx_model": onnx_model,
        "probe_set": probe,
        "evaluation": {"model_sha256": onnx_model.digest, "rows": 2, "judge_sha256": "3" * 64},
        "data_report": {"raw_inputs": RAW},
        "model_card": f"# Model card\n\nSHA-256 {onnx_model.digest}",
        "training_record": training_record,
    }


def test_the_candidate_carries_the_origin_of_its_model(
    parts: dict[str, Any], run_record: RunRecord, data_record: DataRecord
) -> None:
    """The record holds the digests of model, probe and judged rows, the raw inputs, and the runs of model and data."""
    provenance = package_model(**parts).provenance
    expected = parts["onnx_model"].digest, digest_of_probe(parts["probe_set"]), "3" * 64
    assert expected == (provenance.model_sha256, provenance.probe_sha256, provenance.judge_sha256)
    assert (run_record, data_record) == (provenance.run, provenance.data)
    assert RAW == provenance.model_dump()["raw_inputs"]


def test_the_candidate_is_made_of_what_was_given(parts: dict[str, Any]) -> None:
    """Model, probe, evaluation, report on the data and card are handed on as they are."""
    candidate = package_model(**parts)
    expected = parts["onnx_model"], parts["evaluation"], parts["data_report"], parts["model_card"]
    assert expected == (candidate.model, candidate.evaluation, candidate.data_report, candidate.model_card)
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
def test_parts_of_two_models_are_refused(parts: dict[str, Any], replaced: tuple[str, ...], strange: str) -> None:
    """Parts that two runs left make no candidate; one line names them, the model at hand, and what to do."""
    model = parts["onnx_model"]
    other = export.seal(model.proto, model.roles, threshold=0.6)
    of_other = {
        "onnx_model": other,
        "training_record": {**parts["training_record"], "model_sha256": other.digest},
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


@pytest.mark.parametrize("part", ["model_sha256", "run", "data"])
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
