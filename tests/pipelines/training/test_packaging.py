"""What the registry stores: a model with its complete origin, or nothing."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.pipelines.training.packaging import package_model
from ml_lifecycle.provenance.record import RunRecord, digest_of_probe

RAW = {"customers": {"path": "data/01_raw/customers.csv", "md5": "0" * 32, "size": 10}}


@pytest.fixture
def probe() -> pd.DataFrame:
    """Two rows with their answers."""
    return pd.DataFrame({"row_key": ["a", "b"], "probability": np.array([0.1, 0.9], np.float32)})


def test_the_candidate_carries_the_origin_of_its_model(
    onnx_model: OnnxModel, probe: pd.DataFrame, run_record: RunRecord
) -> None:
    """The record holds the digests of model and probe, the raw inputs and the run."""
    provenance = package_model(onnx_model, probe, {}, {"raw_inputs": RAW}, run_record).provenance
    assert (onnx_model.digest, digest_of_probe(probe)) == (provenance.model_sha256, provenance.probe_sha256)
    assert (run_record, RAW) == (provenance.run, provenance.model_dump()["raw_inputs"])


def test_the_candidate_is_made_of_what_was_given(
    onnx_model: OnnxModel, probe: pd.DataFrame, run_record: RunRecord
) -> None:
    """Model, probe and evaluation are handed on as they are."""
    candidate = package_model(onnx_model, probe, {"rows": 2}, {"raw_inputs": RAW}, run_record)
    assert (onnx_model, {"rows": 2}) == (candidate.model, candidate.evaluation)
    pd.testing.assert_frame_equal(probe, candidate.probe)


@pytest.mark.parametrize("part", ["path", "md5", "size"])
def test_an_incomplete_record_is_refused(
    part: str, onnx_model: OnnxModel, probe: pd.DataFrame, run_record: RunRecord
) -> None:
    """A raw input of which something is unknown makes no candidate; the error names what is missing."""
    raw: dict[str, Any] = {"customers": {key: value for key, value in RAW["customers"].items() if key != part}}
    with pytest.raises(ValidationError, match=rf"customers\.{part}"):
        package_model(onnx_model, probe, {}, {"raw_inputs": raw}, run_record)
