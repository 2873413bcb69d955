"""Batch scoring: the same features, the same model, the same answers as in training."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandera.errors import SchemaError

from ml_lifecycle import estimators, export, request_id, schemas
from ml_lifecycle.errors import DataContractError
from ml_lifecycle.model_version import ModelVersion
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.parameters import FeatureOptions, FlightOptions, ModelOptions
from ml_lifecycle.pipelines.data_engineering import flights
from ml_lifecycle.pipelines.data_engineering import nodes as table_nodes
from ml_lifecycle.pipelines.serving import create_pipeline
from ml_lifecycle.pipelines.serving.nodes import log_predictions, score
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


class TestRequestIds:
    """Each answer has a name of its own, which the same run would give it again."""

    def test_are_unique(self, requests: pd.DataFrame, version: ModelVersion, run_record: RunRecord) -> None:
        """No two answers have the same name, in one run or in two."""
        later = run_record.model_copy(update={"started_at": "2013-12-01T10:00:01+00:00"})
        other = ModelVersion("churn", "4", export.seal(version.model.proto, version.model.roles, 0.5))
        runs = [(version, run_record), (version, later), (other, run_record)]
        names = [name for by, run in runs for name in score(requests, by, run)["request_id"]]
        assert 3 * len(requests) == len(set(names))

    def test_are_made_of_model_time_and_key(
        self, requests: pd.DataFrame, version: ModelVersion, run_record: RunRecord
    ) -> None:
        """Whoever has digest, time and key of an answer can compute its name, whatever else was asked for."""
        row = score(requests.tail(5).reset_index(drop=True), version, run_record).iloc[1]
        assert [row["request_id"]] == request_id.of_rows(row["model_digest"], row["scored_at"], [row["request_key"]])

    @pytest.mark.parametrize("name", ["20131201-0", "2013-12-01-" + "0" * 32, "20131201-" + "A" * 32])
    def test_have_a_form(self, requests: pd.DataFrame, version: ModelVersion, run_record: RunRecord, name: str) -> None:
        """The contract refuses a name of another form."""
        with pytest.raises(SchemaError, match=r"'request_id' failed .* str_matches"):
            schemas.Predictions.validate(score(requests.head(1), version, run_record).assign(request_id=name))

    def test_occur_once(self, requests: pd.DataFrame, version: ModelVersion, run_record: RunRecord) -> None:
        """The contract refuses a name that two answers have."""
        predictions = score(requests.head(2), version, run_record)
        with pytest.raises(SchemaError, match="'request_id' contains duplicate values"):
            schemas.Predictions.validate(predictions.assign(request_id=predictions.loc[0, "request_id"]))

    @pytest.mark.parametrize(
        ("keys", "counted"),
        [
            (["a", None, "b", None], "Of 4 requests, 2 have none and 0 have one that came before"),
            (["a", "b", "a", "a"], "Of 4 requests, 0 have none and 2 have one that came before"),
            ([1.0, 1.0, np.nan, 2.0], "Of 4 requests, 1 have none and 1 have one that came before"),
        ],
    )
    def test_need_keys(
        self, requests: pd.DataFrame, version: ModelVersion, run_record: RunRecord, keys: list[Any], counted: str
    ) -> None:
        """Requests without keys of their own are refused: their answers could not be told apart."""
        with pytest.raises(DataContractError, match=f"key of its own in the column 'customer'. {counted}"):
            score(requests.head(4).assign(customer=keys), version, run_record)


@pytest.fixture(scope="module")
def predictions(requests: pd.DataFrame, version: ModelVersion, run_record: RunRecord) -> pd.DataFrame:
    """The answers to the judged customers."""
    return score(requests, version, run_record)


class TestLog:
    """The answers of a run under a name that no other answers have."""

    def test_names_day_time_and_model(self, predictions: pd.DataFrame, version: ModelVersion) -> None:
        """All rows of a run are one part; its name leads from day to time to model."""
        ((name, rows),) = log_predictions(predictions).items()
        pd.testing.assert_frame_equal(predictions, rows)
        assert name.startswith(f"date=2013-12-01/100000-{version.model.digest[:12]}-")
        assert "date=" + request_id.day_of(rows.loc[0, "request_id"]).isoformat() == name.partition("/")[0]

    @pytest.mark.parametrize(
        "change",
        [
            lambda rows: rows.head(-1),
            lambda rows: rows.iloc[::-1],
            lambda rows: rows.assign(probability=rows["probability"] / 2),
            lambda rows: rows.assign(decision="stays"),
            lambda rows: rows.assign(model_version="4"),
            lambda rows: rows.assign(request_key="other" + rows["request_key"]),
        ],
        ids=["fewer", "order", "probability", "decision", "version", "key"],
    )
    def test_other_answers_have_another_name(
        self, predictions: pd.DataFrame, change: Callable[[pd.DataFrame], pd.DataFrame]
    ) -> None:
        """Two runs of one model within a second keep their answers apart, in whatever they differ."""
        assert not log_predictions(predictions).keys() & log_predictions(change(predictions)).keys()

    def test_the_same_answers_have_the_same_name(self, predictions: pd.DataFrame) -> None:
        """Logging again what was logged, after a fault, adds nothing."""
        assert log_predictions(predictions).keys() == log_predictions(predictions.copy()).keys()

    def test_keeps_two_times_apart(self, predictions: pd.DataFrame) -> None:
        """Answers of two days are two parts, each under its own day."""
        next_day = predictions.assign(scored_at=predictions["scored_at"] + pd.Timedelta(days=1))
        parts = log_predictions(pd.concat([predictions, next_day], ignore_index=True))
        assert ["date=2013-12-01", "date=2013-12-02"] == [name.partition("/")[0] for name in sorted(parts)]
        assert [len(predictions)] * 2 == [len(rows) for rows in parts.values()]

    def test_keeps_nothing_of_nothing(self, predictions: pd.DataFrame) -> None:
        """No answers make no part."""
        assert {} == log_predictions(predictions.head(0))


@pytest.mark.parametrize("node", create_pipeline().nodes, ids=lambda node: node.name)
def test_a_node_is_pure(
    node: Any, requests: pd.DataFrame, version: ModelVersion, run_record: RunRecord, predictions: pd.DataFrame,
    freeze: Callable[[Any], Any],
) -> None:  # fmt: skip
    """A node leaves its inputs as they were and gives the same output every time."""
    data = {"requests": requests, "registered_model": version, "run_record": run_record, "predictions": predictions}
    inputs = {name: data[name] for name in node.inputs}
    before, first = freeze(inputs), freeze(node.run(dict(inputs)))
    assert (before, first) == (freeze(inputs), freeze(node.run(dict(inputs))))
