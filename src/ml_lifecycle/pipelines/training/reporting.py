"""Nodes that show what was trained: pictures and the model card."""

from typing import Any

import markdown
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.inspection import permutation_importance

from ml_lifecycle import figures, metrics, model_card
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.parameters import EvaluationOptions


def measure_importance(
    onnx_model: OnnxModel, model_input: pd.DataFrame, options: EvaluationOptions, seed: int
) -> pd.DataFrame:
    """Measure how much ROC AUC each feature carries: its loss when the feature is shuffled.

    On rows of the choose slice; one row per feature, the most important first
    (Breiman 2001, Random Forests, section 10).
    """
    choose = model_input[model_input["row_split"] == "choose"]
    sample = choose.sample(min(options.importance_rows, len(choose)), random_state=seed)
    roles = onnx_model.roles
    rows = sample[roles.columns].astype({name: object for name in roles.categorical})

    def roc_auc(model: OnnxModel, x: pd.DataFrame, y: pd.Series) -> float:
        scores = model.predict({name: x[name].to_numpy() for name in roles.columns})
        return metrics.Scored.of(y, scores, bins=1).metrics(np.ones(len(y)))["roc_auc"]

    found = permutation_importance(
        onnx_model, rows, sample["row_target"], scoring=roc_auc, n_repeats=options.importance_repeats, random_state=seed
    )
    table = pd.DataFrame(
        {
            "feature": roles.columns,
            "mean": found.importances_mean.round(metrics.DIGITS),
            "deviation": found.importances_std.round(metrics.DIGITS),
        }
    )
    return table.sort_values(["mean", "feature"], ascending=[False, True]).reset_index(drop=True)


def draw_quality(
    evaluation_scores: pd.DataFrame, baseline_scores: pd.DataFrame, evaluation: dict[str, Any]
) -> dict[str, Figure]:
    """Draw ROC, precision-recall and calibration of the model and its baselines."""
    judge = evaluation_scores.merge(baseline_scores, on="row_key")
    scores = judge[["model", *evaluation["baselines"]]]
    quality = {"model": evaluation["model"], **evaluation["baselines"]}
    return {
        "roc": figures.roc(judge["row_target"], scores, quality),
        "precision_recall": figures.precision_recall(judge["row_target"], scores, quality),
        "calibration": figures.calibration(evaluation["calibration"]),
    }


def draw_importance(importance: pd.DataFrame) -> Figure:
    """Draw the most important features."""
    return figures.importance(importance)


def draw_rates(
    model_input: pd.DataFrame, evaluation_scores: pd.DataFrame, onnx_model: OnnxModel, options: EvaluationOptions
) -> Figure:
    """Draw the share of positives by slice and by each column of ``rates_by``; ``month`` comes from the time."""
    judged = evaluation_scores.loc[evaluation_scores["row_split"] == "judge", ["row_key", "model"]]
    rows = model_input.assign(month=model_input["row_time"].dt.month, slice=model_input["row_split"])
    rows = rows.merge(judged, on="row_key", how="left")
    panels = {
        column: rows[[column, "row_target", "model"]].rename(columns={column: "value"})
        for column in ("slice", *options.rates_by)
    }
    return figures.rates(onnx_model.roles.labels[1], panels)


def write_model_card(
    onnx_model: OnnxModel,
    evaluation: dict[str, Any],
    slice_metrics: pd.DataFrame,
    importance: pd.DataFrame,
    chosen_options: dict[str, Any],
    data_report: dict[str, Any],
) -> dict[str, str]:
    """Write the model card, as Markdown and as HTML; every figure in it comes from the run."""
    card = model_card.render(onnx_model, evaluation, slice_metrics, importance, chosen_options, data_report)
    body = markdown.markdown(card, extensions=["tables"])
    return {"markdown": card, "html": model_card.page(body)}
