"""Two models on the same rows: the difference, its interval, and rows that allow none."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ml_lifecycle import comparison, metrics

COMPARED = ("roc_auc", "average_precision", "log_loss", "brier")
ROWS, DAYS = 600, 30


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Rows of 30 days on which the challenger sees more than the incumbent, in every metric."""
    random = np.random.default_rng(5)
    day = np.arange(ROWS) % DAYS
    signal = random.normal(0, 1, ROWS) + random.normal(0, 0.5, DAYS)[day]
    return pd.DataFrame(
        {
            "row_key": [f"r{number}" for number in range(ROWS)],
            "row_time": pd.Timestamp("2013-10-01 06:00") + pd.to_timedelta(day * 24 + day % 12, unit="h"),
            "row_target": (random.random(ROWS) < 1 / (1 + np.exp(-2 * signal))).astype(np.int8),
            "challenger": (1 / (1 + np.exp(-2 * signal))).astype(np.float32),
            "incumbent": (1 / (1 + np.exp(-signal - random.normal(0, 1, ROWS)))).astype(np.float32),
        }
    )


def compared(rows: pd.DataFrame, metric: str = "roc_auc", **changes: Any) -> comparison.Figures:
    """Compare with an interval of 90% from 60 draws, unless told otherwise."""
    return comparison.compare(rows, metric, **({"confidence": 0.9, "samples": 60, "seed": 3} | changes))


def swapped(rows: pd.DataFrame) -> pd.DataFrame:
    """Let each model take the place of the other."""
    return rows.rename(columns={"challenger": "incumbent", "incumbent": "challenger"})


def test_blocks_are_days_in_order_of_time() -> None:
    """Rows of one day share a number, in whatever order they come."""
    times = pd.to_datetime(pd.Series(["2013-10-02 23:00", "2013-10-01 07:00", "2013-10-02 00:00"]))
    assert [1, 0, 1] == metrics.day_blocks(times).tolist()


def test_rows_without_a_time_are_blocks_of_their_own() -> None:
    """Where one time is missing, every row is drawn alone."""
    assert [0, 1] == metrics.day_blocks(pd.Series([pd.Timestamp("2013-10-01"), pd.NaT])).tolist()


@pytest.mark.parametrize("metric", COMPARED)
def test_the_better_model_has_a_gain(rows: pd.DataFrame, metric: str) -> None:
    """Above zero the challenger is better, whichever way the metric runs, and low and high enclose the gain."""
    found = compared(rows, metric)
    assert 0 < found["low"] < found["value"] < found["high"]


@pytest.mark.parametrize("metric", COMPARED)
def test_swapped_models_have_the_opposite_gain(rows: pd.DataFrame, metric: str) -> None:
    """Which model is called the challenger decides about the sign and about nothing else."""
    one, other = compared(rows, metric), compared(swapped(rows), metric)
    assert [one["value"], one["low"], one["challenger"]] == [-other["value"], -other["high"], other["incumbent"]]


@pytest.mark.parametrize("metric", COMPARED)
def test_the_metric_of_each_model_is_reported(rows: pd.DataFrame, metric: str) -> None:
    """Both models' metrics are those of the rows, and the counts are those of the rows and days."""
    found = compared(rows, metric)
    for model in ("challenger", "incumbent"):
        scored = metrics.Scored.of(rows["row_target"], rows[model], 10)
        assert metrics.rounded(scored.metrics(np.ones(ROWS))[metric]) == found[model]
    assert (ROWS, rows["row_target"].sum(), DAYS) == (found["rows"], found["positives"], found["blocks"])


def test_a_difference_needs_no_draws(rows: pd.DataFrame) -> None:
    """Without an interval the figures are the same."""
    found = compared(rows)
    assert comparison.difference(rows, "roc_auc").items() <= found.items()


def test_equal_scores_have_no_gain_and_no_doubt(rows: pd.DataFrame) -> None:
    """A model compared with itself gains exactly nothing in every draw."""
    found = compared(rows.assign(challenger=rows["incumbent"]))
    assert (0, 0, 0) == (found["low"], found["value"], found["high"])


def test_pairing_narrows_the_interval(rows: pd.DataFrame) -> None:
    """The difference varies less from day to day than the metric of either model."""
    close = rows.assign(challenger=rows["incumbent"] * 0.9 + rows["challenger"] * 0.1)
    found = compared(close)
    scored = metrics.Scored.of(rows["row_target"], rows["incumbent"], 10)
    alone = metrics.Bootstrap(metrics.day_blocks(rows["row_time"]), 60, 0.9, 3).interval(scored.metrics)["roc_auc"]
    assert found["high"] - found["low"] < (alone["high"] - alone["low"]) / 2


def test_the_same_seed_gives_the_same_interval(rows: pd.DataFrame) -> None:
    """A comparison can be repeated; another seed draws other days."""
    assert compared(rows) == compared(rows)
    assert compared(rows)["low"] != compared(rows, seed=4)["low"]


def test_more_confidence_needs_a_wider_interval(rows: pd.DataFrame) -> None:
    """The interval of 99% reaches further than that of 90%."""
    assert compared(rows, confidence=0.99)["low"] < compared(rows)["low"]


@pytest.mark.parametrize("freedom", [9, 17, 39, 91, 10_000])
@pytest.mark.parametrize("share", [0.9, 0.95, 0.975, 0.995])
def test_students_quantile_equals_scipys(share: float, freedom: int) -> None:
    """The series agrees from the fewest days on that are compared."""
    assert stats.t.ppf(share, freedom) == pytest.approx(comparison._student(share, freedom), rel=1e-3)


def test_a_rare_label_on_few_days_has_no_interval(rows: pd.DataFrame) -> None:
    """Where some draw leaves the positives out, the area has no low and no high end."""
    rare = rows.assign(row_target=(rows.index < 2).astype(np.int8))
    found = compared(rare)
    assert (None, None) == (found["low"], found["high"])
    assert found["value"] is not None


def test_one_label_has_no_difference(rows: pd.DataFrame) -> None:
    """Without positives the area of neither model is defined."""
    found = comparison.difference(rows.assign(row_target=0), "roc_auc")
    assert [None] * 3 == [found[name] for name in ("value", "challenger", "incumbent")]


def test_sound_rows_are_no_problem(rows: pd.DataFrame) -> None:
    """Rows with all columns, both labels and two probabilities each can be compared."""
    assert comparison.problem(rows) == ""


def test_rows_without_times_are_no_problem(rows: pd.DataFrame) -> None:
    """A table without times is compared row by row."""
    assert comparison.problem(rows.assign(row_time=pd.NaT)) == ""


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("challenger", np.nan, "1 of 600 rows lack a probability of either model"),
        ("incumbent", None, "1 of 600 rows lack a probability of either model"),
        ("challenger", 1.5, "1 of 600 rows lack a probability of either model"),
        ("incumbent", -np.inf, "1 of 600 rows lack a probability of either model"),
        ("row_target", 2, "1 of 600 rows lack a label 0 or 1"),
        ("row_target", np.nan, "1 of 600 rows lack a label 0 or 1"),
        ("row_key", "r1", "1 of 600 rows repeat a key"),
    ],
)
def test_one_faulty_row_is_a_problem(rows: pd.DataFrame, column: str, value: Any, message: str) -> None:
    """A single row without a usable label, key or probability is counted and named."""
    broken = rows.astype({"row_target": float})
    broken.loc[0, column] = value
    assert message == comparison.problem(broken)


@pytest.mark.parametrize("column", comparison.COLUMNS)
def test_a_lacking_column_is_a_problem(rows: pd.DataFrame, column: str) -> None:
    """A column that is not there is named, with those that are needed."""
    assert f"the rows lack {column}; needed are row_key" in comparison.problem(rows.drop(columns=column))


@pytest.mark.parametrize(("label", "positives"), [(0, "0"), (1, "600")])
def test_one_label_is_a_problem(rows: pd.DataFrame, label: int, positives: str) -> None:
    """Rows of one label cannot be ranked."""
    message = f"600 rows with {positives} positives; both labels are needed"
    assert message == comparison.problem(rows.assign(row_target=label))


def test_no_rows_are_a_problem(rows: pd.DataFrame) -> None:
    """An empty table says so."""
    assert comparison.problem(rows.head(0)) == "0 rows with 0 positives; both labels are needed"


@pytest.mark.parametrize("days", [1, 9])
def test_few_days_are_a_problem(rows: pd.DataFrame, days: int) -> None:
    """The spread of a few days says nothing; one day would have no doubt at all."""
    few = rows[rows["row_time"].dt.day <= days]
    few = few[few["row_time"].dt.month == 10]
    assert comparison.problem(few).startswith(f"{days} days (rows, where times are missing); at least 10")
