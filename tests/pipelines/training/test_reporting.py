"""Pictures and the model card of a training."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.parameters import EvaluationOptions
from ml_lifecycle.pipelines.training import evaluation as judging
from ml_lifecycle.pipelines.training import nodes, reporting


@pytest.fixture(scope="module")
def scores(onnx_model: OnnxModel, model_input: pd.DataFrame) -> pd.DataFrame:
    """Scores of the choose and the judge slice."""
    return nodes.score_slices(onnx_model, model_input)


@pytest.fixture(scope="module")
def baseline_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """One baseline on the judge slice."""
    judge = scores.loc[scores["row_split"] == "judge", ["row_key"]]
    return judge.assign(prevalence=np.float32(0.5))


@pytest.fixture(scope="module")
def evaluation(
    scores: pd.DataFrame, baseline_scores: pd.DataFrame, onnx_model: OnnxModel, evaluation_options: EvaluationOptions
) -> dict[str, Any]:
    """The evaluation of the customers' model."""
    export_report = {"rows": 1, "largest_difference": 0.0, "above_1e-5": 0, "tolerance": 1e-5}
    return judging.evaluate(scores, baseline_scores, onnx_model, export_report, evaluation_options, seed=1)


def importance(
    model: OnnxModel, table: pd.DataFrame, options: EvaluationOptions, seed: int = 1, **changed: Any
) -> pd.DataFrame:
    """Measure importance with some options changed."""
    return reporting.measure_importance(model, table, options.model_copy(update=changed), seed)


def test_every_feature_has_an_importance_the_greatest_first(
    onnx_model: OnnxModel, model_input: pd.DataFrame, evaluation_options: EvaluationOptions
) -> None:
    """Each feature is listed once, and the one that decides stands first."""
    table = importance(onnx_model, model_input, evaluation_options, importance_rows=10_000)
    assert sorted(onnx_model.roles.columns) == sorted(table["feature"])
    assert ("age", True) == (table["feature"][0], table["mean"].is_monotonic_decreasing)


def test_a_constant_feature_has_no_importance(
    onnx_model: OnnxModel, model_input: pd.DataFrame, evaluation_options: EvaluationOptions
) -> None:
    """Shuffling a column of equal values costs nothing."""
    table = importance(onnx_model, model_input.assign(city="Bonn"), evaluation_options).set_index("feature")
    assert [0.0, 0.0] == table.loc["city"].tolist()


@pytest.mark.parametrize(("seed", "same"), [(1, True), (2, False)])
def test_importance_follows_the_seed(
    seed: int, same: bool, onnx_model: OnnxModel, model_input: pd.DataFrame, evaluation_options: EvaluationOptions
) -> None:
    """The same seed shuffles alike."""
    first = importance(onnx_model, model_input, evaluation_options)
    assert same is first.equals(importance(onnx_model, model_input, evaluation_options, seed))


def test_importance_does_not_look_at_the_judge_slice(
    onnx_model: OnnxModel, model_input: pd.DataFrame, evaluation_options: EvaluationOptions
) -> None:
    """Without judged rows the figures are the same."""
    unjudged = model_input[model_input["row_split"] != "judge"]
    expected = importance(onnx_model, model_input, evaluation_options)
    pd.testing.assert_frame_equal(expected, importance(onnx_model, unjudged, evaluation_options))


def test_quality_is_drawn_in_three_pictures(
    scores: pd.DataFrame, baseline_scores: pd.DataFrame, evaluation: dict[str, Any]
) -> None:
    """ROC and precision-recall show the model and its baseline."""
    drawn = reporting.draw_quality(scores, baseline_scores, evaluation)
    assert ["roc", "precision_recall", "calibration"] == list(drawn)
    assert [2, 2] == [len(drawn[name].axes[0].get_lines()) for name in ("roc", "precision_recall")]


def test_rates_are_drawn_by_slice_and_by_the_columns_asked_for(
    model_input: pd.DataFrame, scores: pd.DataFrame, onnx_model: OnnxModel, evaluation_options: EvaluationOptions
) -> None:
    """There is a panel for the slices and one for each column."""
    figure = reporting.draw_rates(model_input, scores, onnx_model, evaluation_options)
    expected = [f"Share of leaves by {column}" for column in ("slice", "month", "city")]
    assert expected == [axes.get_title() for axes in figure.axes]


def test_slices_stand_in_their_order(
    model_input: pd.DataFrame, scores: pd.DataFrame, onnx_model: OnnxModel, evaluation_options: EvaluationOptions
) -> None:
    """Train comes before choose, and choose before judge."""
    axes = reporting.draw_rates(model_input, scores, onnx_model, evaluation_options).axes[0]
    assert ["train", "choose", "judge"] == [label.get_text() for label in axes.get_xticklabels()]


def test_importance_is_drawn(
    onnx_model: OnnxModel, model_input: pd.DataFrame, evaluation_options: EvaluationOptions
) -> None:
    """Each feature has a bar."""
    figure = reporting.draw_importance(importance(onnx_model, model_input, evaluation_options))
    assert 4 == len(figure.axes[0].patches)


def test_every_table_of_the_card_is_a_table_of_the_page(
    scores: pd.DataFrame, model_input: pd.DataFrame, onnx_model: OnnxModel, evaluation: dict[str, Any],
    evaluation_options: EvaluationOptions,
) -> None:  # fmt: skip
    """Markdown and HTML show the same tables, and no bar of a torn one is left in the page."""
    card = reporting.write_model_card(
        onnx_model,
        evaluation,
        judging.evaluate_slices(scores, model_input, evaluation_options, seed=1),
        importance(onnx_model, model_input, evaluation_options),
        {"estimator": "hist_gradient_boosting", "options": {"max_iter": 12}, "trials": []},
        {
            "raw_inputs": {"customers": {"md5": "0" * 32}},
            "rows": {"customers": {"in": 900, "kept": 900, "quarantined": {}}},
            "slices": {"train": {"rows": 9, "positives": 3, "from": None, "until": None}},
        },
    )
    tables = re.findall(r"^\|-", card["markdown"], flags=re.MULTILINE)
    assert (7, 7) == (len(tables), card["html"].count("<table>"))
    assert "|---" not in card["html"]
