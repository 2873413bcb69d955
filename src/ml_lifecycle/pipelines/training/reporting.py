"""Nodes that show what was trained: pictures and the model card."""

from typing import Any

import markdown
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ml_lifecycle import figures, metrics, model_card
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.parameters import EvaluationOptions

from .nodes import feature_columns

SPLITS = ["train", "choose", "judge"]


def measure_importance(
    onnx_model: OnnxModel, model_input: pd.DataFrame, options: EvaluationOptions, seed: int
) -> pd.DataFrame:
    """Measure how much ROC AUC each feature carries: its loss when the feature is shuffled.

    On rows of the choose slice; one row per feature, the most important first
    (Breiman 2001, Random Forests, section 10).
    """
    choose = model_input[model_input["row_split"] == "choose"]
    sample = choose.sample(min(options.importance_rows, len(choose)), random_state=seed)
    columns = feature_columns(sample, onnx_model.roles)
    target = sample["row_target"].to_numpy()
    random = np.random.default_rng(seed)

    def roc_auc(features: dict[str, Any]) -> float:
        scored = metrics.Scored.of(target, onnx_model.predict(features), bins=1)
        return scored.metrics(np.ones(len(target)))["roc_auc"]

    whole = roc_auc(columns)
    losses = {
        name: [whole - roc_auc(columns | {name: random.permutation(values)}) for _ in range(options.importance_repeats)]
        for name, values in columns.items()
    }
    table = pd.DataFrame(
        {
            "feature": list(losses),
            "mean": [metrics.rounded(float(np.mean(loss))) for loss in losses.values()],
            "deviation": [metrics.rounded(float(np.std(loss))) for loss in losses.values()],
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
    rows = model_input.assign(
        month=model_input["row_time"].dt.month, slice=pd.Categorical(model_input["row_split"], SPLITS)
    )
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
