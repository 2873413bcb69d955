"""Batch scoring: the same features, the same model, the same answers as in training."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_lifecycle import estimators, export, schemas
from ml_lifecycle.errors import DataContractError
from ml_lifecycle.model_version import ModelVersion
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.parameters import FeatureOptions, FlightOptions, ModelOptions
from ml_lifecycle.pipelines.data_engineering import flights
from ml_lifecycle.pipelines.data_engineering import nodes as table_nodes
from ml_lifecycle.pipelines.serving import create_pipeline
from ml_lifecycle.pipelines.serving.nodes import score
from ml_lifecycle.pipelines.training import nodes as training
from ml_lifecycle.provenance.record import RunRecord
from ml_lifecycle.roles import TableRoles


@pytest.fixture(scope="module")
def version(onnx_model: OnnxModel) -> ModelVersion:
    """The customers' model as the registry hands it out."""
    return ModelVersion("churn", "3", onnx_model)


@pytest.fixture(scope="module")
def requests(model_input: pd.DataFrame) -> pd.DataFrame:
    """The judged customers as they ask: with key and time, without a label."""
    judge = model_input[model_input["row_split"] == "judge"].reset_index(drop=True)
    return judge.rename(columns={"row_key": "customer", "row_time": "seen"}).drop(columns=["row_split", "row_target"])


def test_predictions_fulfil_their_contract(
    requests: pd.DataFrame, version: ModelVersion, run_record: RunRecord
) -> None:
    """Every request has one prediction, of the declared columns and types."""
    predictions = schemas.Predictions.validate(score(requests, version, run_record))
    assert requests["customer"].tolist() == predictions["request_key"].tolist()


def test_a_prediction_names_the_model_that_made_it(
    requests: pd.DataFrame, version: ModelVersion, run_record: RunRecord
) -> None:
    """Name, version and digest of the model and the start of the run stand in every row."""
    columns = ["model_name", "model_version", "model_digest", "scored_at"]
    found = score(requests, version, run_record)[columns].drop_duplicates().to_numpy().tolist()
    assert [["churn", "3", version.model.digest, pd.Timestamp("2013-12-01 10:00", tz="UTC")]] == found


def test_scores_equal_those_of_training_to_the_last_bit(
    requests: pd.DataFrame, version: ModelVersion, run_record: RunRecord, model_input: pd.DataFrame
) -> None:
    """Batch scoring of the judged rows answers what training answered on them."""
    scores = training.score_slices(version.model, model_input)
    judged = scores.loc[scores["row_split"] == "judge", "model"].to_numpy()
    np.testing.assert_array_equal(judged, score(requests, version, run_record)["probability"])


def test_flight_requests_are_scored_as_in_training(
    raw_tables: dict[str, pd.DataFrame], flight_options: FlightOptions, before_departure: FeatureOptions,
    small_models: ModelOptions, run_record: RunRecord,
) -> None:  # fmt: skip
    """Features made from requests when scoring are those made for training, to the last bit of the answer."""
    raw = raw_tables
    scheduled = flights.schedule_flights(raw["flights"], raw["airports"], raw["airlines"], flight_options)
    requests = flights.look_up_state(scheduled, raw["weather"], raw["planes"], flight_options, before_departure)
    roles = TableRoles.model_validate(flights.describe_roles(before_departure))
    table = table_nodes.compute_features(requests, roles.model_dump())
    pipeline = estimators.build(small_models.random_forest, roles.numeric, roles.categorical, seed=1)
    late = pd.Series(np.arange(len(table)) % 2, index=table.index)
    fitted = estimators.fit(pipeline, table[roles.columns], late)
    model = export.seal(export.convert(fitted, roles), roles, threshold=0.5)
    trained = model.predict(training.feature_columns(table, roles))
    served = score(requests, ModelVersion("flight_delay", "1", model), run_record)["probability"]
    np.testing.assert_array_equal(trained, served)


def test_a_probability_at_the_threshold_decides_for_the_positive_label(
    requests: pd.DataFrame, onnx_model: OnnxModel, run_record: RunRecord
) -> None:
    """From the threshold on, itself included, the decision is the positive label; below, the negative one."""
    probability = onnx_model.predict(training.feature_columns(requests, onnx_model.roles))
    threshold = float(np.sort(probability)[len(probability) // 2])
    version = ModelVersion("churn", "3", export.seal(onnx_model.proto, onnx_model.roles, threshold))
    predictions = score(requests, version, run_record)
    expected = ["leaves" if float(value) >= threshold else "stays" for value in probability]
    assert expected == predictions["decision"].tolist()
    assert ["leaves"] == predictions.loc[predictions["probability"] == threshold, "decision"].unique().tolist()


@pytest.mark.parametrize("column", ["age", "city", "customer"])
def test_a_missing_column_is_named(
    column: str, requests: pd.DataFrame, version: ModelVersion, run_record: RunRecord
) -> None:
    """Requests that lack a feature or the key are refused; the error names the column, the model and what there is."""
    with pytest.raises(
        DataContractError, match=rf"no column '{column}', which version 3 of 'churn' needs\. They have: "
    ):
        score(requests.drop(columns=column), version, run_record)


def test_a_column_too_many_does_not_matter(
    requests: pd.DataFrame, version: ModelVersion, run_record: RunRecord
) -> None:
    """Requests may carry more than the model asks for, in any order."""
    wide = requests.assign(colour="red")[["colour", *reversed(requests.columns)]]
    pd.testing.assert_frame_equal(score(requests, version, run_record), score(wide, version, run_record))


def test_keys_are_answered_as_text(requests: pd.DataFrame, version: ModelVersion, run_record: RunRecord) -> None:
    """A key that is a number comes back as its text."""
    numbered = requests.assign(customer=range(len(requests)))
    assert ["0", "1"] == score(numbered, version, run_record)["request_key"].head(2).tolist()


def test_no_requests_no_predictions(requests: pd.DataFrame, version: ModelVersion, run_record: RunRecord) -> None:
    """An empty table of requests makes an empty table of predictions that fulfils the contract."""
    assert 0 == len(schemas.Predictions.validate(score(requests.head(0), version, run_record)))


@pytest.mark.parametrize("node", create_pipeline().nodes, ids=lambda node: node.name)
def test_a_node_is_pure(
    node: Any, requests: pd.DataFrame, version: ModelVersion, run_record: RunRecord, freeze: Callable[[Any], Any]
) -> None:
    """A node leaves its inputs as they were and gives the same output every time."""
    inputs = {"requests": requests, "registered_model": version, "run_record": run_record}
    before, first = freeze(inputs), freeze(node.run(dict(inputs)))
    assert (before, first) == (freeze(inputs), freeze(node.run(dict(inputs))))
