"""The rows on which two models are compared."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import candidates
from ml_lifecycle import estimators, export, judge_rows
from ml_lifecycle.errors import DataContractError
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.parameters import ModelOptions
from ml_lifecycle.pipelines.training.nodes import feature_columns
from ml_lifecycle.provenance.record import Provenance, digest_of_labels
from ml_lifecycle.roles import TableRoles

DATES: dict[str, Any] = {"split": {"choose_from": "2013-02-06", "judge_from": "2013-02-15"}}
SHARES: dict[str, Any] = {"split": {"choose_share": 0.1, "judge_share": 0.2}}


def judged_on(rows: pd.DataFrame, parameters: dict[str, Any] = DATES) -> Provenance:
    """The record of a model that was judged on rows."""
    return candidates.candidate(judge=rows, parameters=parameters).provenance


@pytest.fixture
def judge(model_input: pd.DataFrame) -> pd.DataFrame:
    """Return the judge slice: keys, times and labels of 15 days."""
    return model_input.loc[model_input["row_split"] == "judge", ["row_key", "row_time", "row_target"]]


@pytest.fixture
def requests(model_input: pd.DataFrame) -> pd.DataFrame:
    """Return the requests of all rows, in another order."""
    kept = model_input.rename(columns={"row_key": "customer"})[["customer", "age", "balance", "job", "city"]]
    return kept.sample(frac=1, random_state=5)


@pytest.fixture(scope="module")
def age_only(model_input: pd.DataFrame, table_roles: TableRoles, small_models: ModelOptions) -> OnnxModel:
    """A model of the customers that knows their age only."""
    roles = table_roles.model_copy(update={"numeric": ["age"], "categorical": []})
    pipeline = estimators.build(small_models.logistic_regression, roles.numeric, roles.categorical, seed=1)
    train = model_input[model_input["row_split"] == "train"]
    fitted = estimators.fit(pipeline, train[roles.columns], train["row_target"])
    return export.seal(export.convert(fitted, roles), roles, threshold=0.4)


class TestSelect:
    """Which rows both may be compared on."""

    def test_judged_on_the_same_rows(self, model_input: pd.DataFrame, judge: pd.DataFrame) -> None:
        """All rows of the judge slice count where the incumbent was judged on them, too."""
        found = judge_rows.select(model_input, judged_on(judge), judged_on(judge, SHARES))
        pd.testing.assert_frame_equal(judge, found)

    def test_the_order_does_not_count(self, model_input: pd.DataFrame, judge: pd.DataFrame) -> None:
        """The slice is the same in whichever order its rows stand."""
        shuffled = model_input.sample(frac=1, random_state=3)
        found = judge_rows.select(shuffled, judged_on(judge), judged_on(judge))
        assert set(judge["row_key"]) == set(found["row_key"])

    @pytest.mark.parametrize("column", ["row_key", "row_time", "row_target"])
    def test_other_rows_at_hand(self, model_input: pd.DataFrame, judge: pd.DataFrame, column: str) -> None:
        """One changed key, time or label is another slice: both digests are told."""
        other = model_input.copy()
        last = other.index[-1]
        other.loc[last, column] = {
            "row_key": "other",
            "row_time": pd.Timestamp("2013-03-09"),
            "row_target": 1 - other.loc[last, "row_target"],
        }[column]
        at_hand = digest_of_labels(other[other["row_split"] == "judge"])
        expected = f"SHA-256 recorded {digest_of_labels(judge)}, at hand {at_hand}"
        with pytest.raises(DataContractError, match=expected):
            judge_rows.select(other, judged_on(judge), judged_on(judge))

    def test_another_split_at_hand(self, model_input: pd.DataFrame, judge: pd.DataFrame) -> None:
        """A row that left the judge slice is noticed."""
        other = model_input.copy()
        other.loc[other.index[-1], "row_split"] = "train"
        with pytest.raises(DataContractError, match="is not the one the version was judged on"):
            judge_rows.select(other, judged_on(judge), judged_on(judge))

    def test_the_challenger_does_not_tell(self, model_input: pd.DataFrame, judge: pd.DataFrame) -> None:
        """A record of the first schema does not say what its model was judged on."""
        silent = judged_on(judge).model_copy(update={"judge_sha256": None})
        with pytest.raises(DataContractError, match="SHA-256 recorded None"):
            judge_rows.select(model_input, silent, judged_on(judge))

    def test_the_incumbent_was_judged_on_earlier_rows(self, model_input: pd.DataFrame, judge: pd.DataFrame) -> None:
        """An incumbent whose judge slice began earlier has not learned from any of the rows."""
        incumbent = judged_on(judge[:5], {"split": {"judge_from": "2013-02-01"}})
        pd.testing.assert_frame_equal(judge, judge_rows.select(model_input, judged_on(judge), incumbent))

    @pytest.mark.parametrize("judged_from", ["2013-02-20", "2013-02-19 00:00:01", "2013-02-20T00:00:00"])
    def test_the_incumbent_was_judged_on_later_rows(
        self, model_input: pd.DataFrame, judge: pd.DataFrame, judged_from: str
    ) -> None:
        """Rows before the incumbent's judge slice are left out: it may have learned from them."""
        incumbent = judged_on(judge[:5], {"split": {"judge_from": judged_from}})
        found = judge_rows.select(model_input, judged_on(judge), incumbent)
        pd.testing.assert_frame_equal(judge[judge["row_time"] >= "2013-02-20"], found)
        assert 0 < len(found) < len(judge)

    def test_the_incumbent_has_learned_from_all(self, model_input: pd.DataFrame, judge: pd.DataFrame) -> None:
        """Nothing is left where the incumbent was judged from a later day on."""
        incumbent = judged_on(judge[:5], {"split": {"judge_from": "2013-06-01"}})
        with pytest.raises(DataContractError, match="has learned from all of them: it was judged from 2013-06-01 on"):
            judge_rows.select(model_input, judged_on(judge), incumbent)

    @pytest.mark.parametrize("parameters", [SHARES, {}, {"split": None}])
    def test_a_split_without_dates(
        self, model_input: pd.DataFrame, judge: pd.DataFrame, parameters: dict[str, Any]
    ) -> None:
        """Without dates nobody can tell what the incumbent has learned from."""
        with pytest.raises(DataContractError, match="its split has no dates"):
            judge_rows.select(model_input, judged_on(judge), judged_on(judge[:5], parameters))

    def test_no_record_of_the_data(self, model_input: pd.DataFrame, judge: pd.DataFrame) -> None:
        """The split is that of the run that made the data; without it nobody can tell."""
        silent = judged_on(judge[:5]).model_copy(update={"data": None})
        with pytest.raises(DataContractError, match="it cannot be told which"):
            judge_rows.select(model_input, judged_on(judge), silent)

    def test_rows_without_times(self, model_input: pd.DataFrame) -> None:
        """A date does not help where a row has no time."""
        timeless = model_input.copy()
        timeless.loc[timeless.index[-1], "row_time"] = pd.NaT
        judge = timeless[timeless["row_split"] == "judge"]
        with pytest.raises(DataContractError, match="it cannot be told which"):
            judge_rows.select(timeless, judged_on(judge), judged_on(judge[:5]))

    def test_does_not_change_the_table(
        self, model_input: pd.DataFrame, judge: pd.DataFrame, freeze: Callable[[Any], Any]
    ) -> None:
        """The table is as before, also after a change of what came out."""
        before = freeze(model_input)
        found = judge_rows.select(model_input, judged_on(judge), judged_on(judge[:5]))
        found["row_target"] = 2
        assert before == freeze(model_input)


class TestScore:
    """Both models answer the same rows, now."""

    def test_answers_as_in_training(
        self, model_input: pd.DataFrame, judge: pd.DataFrame, requests: pd.DataFrame, onnx_model: OnnxModel
    ) -> None:
        """Through the features of serving, a model says of each row what it says of the table it learned from."""
        rows = judge_rows.score(judge, requests, {"challenger": onnx_model})
        table = model_input[model_input["row_split"] == "judge"]
        expected = onnx_model.predict(feature_columns(table, onnx_model.roles))
        assert expected.std() > 0
        assert rows["row_key"].tolist() == table["row_key"].tolist()
        np.testing.assert_array_equal(expected, rows["challenger"])
        assert rows["challenger"].dtype == np.float32

    def test_each_with_its_own_features(
        self, judge: pd.DataFrame, requests: pd.DataFrame, onnx_model: OnnxModel, age_only: OnnxModel
    ) -> None:
        """Models with different features are scored on the same requests; their columns stay, for the slices."""
        rows = judge_rows.score(judge, requests, {"challenger": onnx_model, "incumbent": age_only})
        both = [
            judge_rows.score(judge, requests, {name: model}) for name, model in (("c", onnx_model), ("i", age_only))
        ]
        np.testing.assert_array_equal(rows["challenger"], both[0]["c"])
        np.testing.assert_array_equal(rows["incumbent"], both[1]["i"])
        assert (rows["challenger"] != rows["incumbent"]).any()
        assert {"row_key", "row_time", "row_target", "city", "job", "customer"} < set(rows)

    def test_a_column_of_one_model_only(
        self, judge: pd.DataFrame, requests: pd.DataFrame, onnx_model: OnnxModel, age_only: OnnxModel
    ) -> None:
        """The model that lacks a column is named with it; the other needs it not."""
        models = {"challenger": age_only, "incumbent": onnx_model}
        with pytest.raises(DataContractError, match="the requests have no column 'job', which the incumbent needs"):
            judge_rows.score(judge, requests.drop(columns="job"), models)

    @pytest.mark.parametrize("column", ["age", "balance", "job", "city"])
    def test_a_missing_column(
        self, judge: pd.DataFrame, requests: pd.DataFrame, onnx_model: OnnxModel, column: str
    ) -> None:
        """Each column that a feature needs is named where it is missing."""
        with pytest.raises(DataContractError, match=f"no column '{column}', which the challenger needs"):
            judge_rows.score(judge, requests.drop(columns=column), {"challenger": onnx_model})

    def test_a_missing_request(self, judge: pd.DataFrame, requests: pd.DataFrame, onnx_model: OnnxModel) -> None:
        """Rows without a request are counted, and nothing is scored."""
        fewer = requests[~requests["customer"].isin(judge["row_key"].head(3))]
        with pytest.raises(DataContractError, match=f"^3 of {len(judge)} judge rows have no request"):
            judge_rows.score(judge, fewer, {"challenger": onnx_model})

    def test_keys_that_are_numbers(self, judge: pd.DataFrame, requests: pd.DataFrame, onnx_model: OnnxModel) -> None:
        """Keys of requests may be numbers, where those of rows are text."""
        numbers = judge.assign(row_key=judge["row_key"].str.removeprefix("c").astype(int).astype(str))
        described = requests.assign(customer=requests["customer"].str.removeprefix("c").astype(int))
        rows = judge_rows.score(numbers, described, {"challenger": onnx_model})
        expected = judge_rows.score(judge, requests, {"challenger": onnx_model})
        np.testing.assert_array_equal(expected["challenger"], rows["challenger"])

    def test_no_column_with_the_key(self, judge: pd.DataFrame, requests: pd.DataFrame, onnx_model: OnnxModel) -> None:
        """Requests that do not name their rows are refused."""
        with pytest.raises(DataContractError, match="the requests have no column 'customer'"):
            judge_rows.score(judge, requests.drop(columns="customer"), {"challenger": onnx_model})

    def test_a_request_twice(self, judge: pd.DataFrame, requests: pd.DataFrame, onnx_model: OnnxModel) -> None:
        """Two requests for one row are refused: nobody knows which was asked."""
        twice = pd.concat([requests, requests.head(2)])
        with pytest.raises(DataContractError, match="2 keys of the requests stand there more than once"):
            judge_rows.score(judge, twice, {"challenger": onnx_model})

    def test_models_with_different_keys(
        self, judge: pd.DataFrame, requests: pd.DataFrame, onnx_model: OnnxModel
    ) -> None:
        """Models of tables with different keys do not answer the same requests."""
        other = onnx_model.roles.model_copy(update={"key": "account"})
        models = {"challenger": onnx_model, "incumbent": export.seal(onnx_model.proto, other, threshold=0.4)}
        with pytest.raises(
            DataContractError, match="the models name their rows by different columns: account, customer"
        ):
            judge_rows.score(judge, requests, models)

    def test_does_not_change_its_inputs(
        self, judge: pd.DataFrame, requests: pd.DataFrame, onnx_model: OnnxModel, freeze: Callable[[Any], Any]
    ) -> None:
        """Rows and requests are as before, also after a change of what came out."""
        before = freeze([judge, requests])
        rows = judge_rows.score(judge, requests, {"challenger": onnx_model})
        rows.loc[:, ["age", "row_target"]] = 0
        assert before == freeze([judge, requests])
