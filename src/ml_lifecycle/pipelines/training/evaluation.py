"""Nodes that judge a model on rows it has not seen, each figure with an interval."""

from typing import Any

import pandas as pd

from ml_lifecycle import metrics
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.parameters import EvaluationOptions
from ml_lifecycle.provenance.record import digest_of_labels

SLICE_COLUMNS = ["column", "part", "rows", "positives", "metric", "value", "low", "high"]


def _bootstrap(rows: pd.DataFrame, options: EvaluationOptions, seed: int) -> metrics.Bootstrap:
    return metrics.Bootstrap(metrics.day_blocks(rows["row_time"]), options.bootstrap_samples, options.confidence, seed)


def evaluate(
    evaluation_scores: pd.DataFrame,
    baseline_scores: pd.DataFrame,
    onnx_model: OnnxModel,
    export_report: dict[str, Any],
    options: EvaluationOptions,
    seed: int,
) -> dict[str, Any]:
    """Judge the model and its baselines on the judge slice, each figure with an interval.

    ``improvements`` holds paired differences, positive where the model is better.
    """
    judge = evaluation_scores[evaluation_scores["row_split"] == "judge"]
    judge = judge.merge(baseline_scores, on="row_key", validate="one_to_one")
    baselines = [name for name in baseline_scores.columns if name != "row_key"]
    bootstrap = _bootstrap(judge, options, seed)
    scored = {
        name: metrics.Scored.of(judge["row_target"], judge[name], options.calibration_bins)
        for name in ("model", *baselines)
    }

    def figures(weights: metrics.Float) -> dict[str, float]:
        by_name = {name: scores.metrics(weights) for name, scores in scored.items()}
        better = {name: metrics.improvement(by_name["model"], by_name[name]) for name in baselines}
        decisions = scored["model"].confusion(weights, onnx_model.threshold)
        observed = scored["model"].observed_by_bin(weights)
        return _flat(
            {
                "quality": by_name,
                "improvements": better,
                "decisions": {"model": decisions},
                "calibration": {"model": observed},
            }
        )

    report = _nested(bootstrap.interval(figures))
    return {
        "model_sha256": onnx_model.digest,
        "rows": len(judge),
        "positives": int(judge["row_target"].sum()),
        "judge_sha256": digest_of_labels(judge),
        "confidence": options.confidence,
        "bootstrap_samples": options.bootstrap_samples,
        "model": report["quality"].pop("model"),
        "baselines": report["quality"],
        "improvements": report["improvements"],
        "threshold": onnx_model.threshold,
        "decisions": report["decisions"]["model"],
        "calibration": [
            {"mean_score": mean_score, "observed": report["calibration"]["model"][number]}
            for number, mean_score in scored["model"].mean_score_by_bin().items()
        ],
        "export": export_report,
    }


def _flat(figures: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    return {
        f"{group}/{name}/{metric}": value
        for group, by_name in figures.items()
        for name, by_metric in by_name.items()
        for metric, value in by_metric.items()
    }


def _nested(figures: dict[str, Any]) -> dict[str, Any]:
    report: dict[str, Any] = {}
    for path, figure in figures.items():
        group, name, metric = path.split("/")
        report.setdefault(group, {}).setdefault(name, {})[metric] = figure
    return report


def evaluate_slices(
    evaluation_scores: pd.DataFrame, model_input: pd.DataFrame, options: EvaluationOptions, seed: int
) -> pd.DataFrame:
    """Judge the model on parts of the judge slice: one row per column, part and metric.

    ``month`` is taken from the time of the rows.
    """
    judge = evaluation_scores[evaluation_scores["row_split"] == "judge"]
    parts = judge.merge(model_input.drop(columns=["row_time", "row_split", "row_target"]), on="row_key")
    parts = parts.assign(month=parts["row_time"].dt.strftime("%Y-%m"))
    found = []
    for column in options.slices:
        for part, rows in parts.groupby(column):
            scored = metrics.Scored.of(rows["row_target"], rows["model"], options.calibration_bins)
            figures = _bootstrap(rows, options, seed).interval(scored.metrics)
            shape = {
                "column": column,
                "part": str(part),
                "rows": len(rows),
                "positives": int(rows["row_target"].sum()),
            }
            found += [{**shape, "metric": name, **figure} for name, figure in figures.items()]
    return pd.DataFrame(found, columns=SLICE_COLUMNS)


def track_metrics(evaluation: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Pick the figures that MLflow shows as metrics: value and interval of each."""
    figures = {
        **evaluation["model"],
        **evaluation["decisions"],
        **{
            f"{baseline}.{name}": figure
            for baseline, by_metric in evaluation["baselines"].items()
            for name, figure in by_metric.items()
        },
    }
    suffixes = {"value": "", "low": ".low", "high": ".high"}
    return {
        f"judge.{name}{suffix}": {"value": figure[part], "step": 0}
        for name, figure in figures.items()
        for part, suffix in suffixes.items()
        if figure[part] is not None
    }
