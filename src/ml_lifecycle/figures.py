"""Pictures of a model's quality. The same input gives the same picture."""

from collections.abc import Iterator, Mapping
from itertools import chain, repeat
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from ml_lifecycle.metrics import interval

MODEL, OTHER, GREY = "#1f6f8b", "#d1603d", "#8a8f98"
POINTS = 500


def _axes(title: str, x: str, y: str, size: tuple[float, float] = (5.2, 4.2)) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(color="#e6e8eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _thin(*curves: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Keep evenly spaced points: no eye sees more, and the file stays small."""
    keep = np.unique(np.linspace(0, len(curves[0]) - 1, POINTS).astype(int))
    return [curve[keep] for curve in curves]


def _colours() -> Iterator[str]:
    """One for the model, one for the first baseline, grey for the others."""
    return chain((MODEL, OTHER), repeat(GREY))


def roc(labels: pd.Series, scores: pd.DataFrame, quality: Mapping[str, Any]) -> Figure:
    """ROC curves, one per column of ``scores``; ``quality`` holds the area with its interval."""
    figure, axes = _axes("ROC on the judge slice", "false positive rate", "true positive rate")
    for name, colour in zip(scores.columns, _colours(), strict=False):
        x, y = _thin(*roc_curve(labels, scores[name])[:2])
        axes.plot(x, y, color=colour, label=f"{name}: {interval(quality[name]['roc_auc'])}")
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    return figure


def precision_recall(labels: pd.Series, scores: pd.DataFrame, quality: Mapping[str, Any]) -> Figure:
    """Precision-recall curves, one per column of ``scores``."""
    figure, axes = _axes("Precision and recall on the judge slice", "recall", "precision")
    for name, colour in zip(scores.columns, _colours(), strict=False):
        precision, recall, _ = precision_recall_curve(labels, scores[name])
        y, x = _thin(precision, recall)
        axes.plot(
            x, y, color=colour, drawstyle="steps-post", label=f"{name}: {interval(quality[name]['average_precision'])}"
        )
    axes.set_ylim(0, 1.02)
    axes.legend(loc="upper right", frameon=False, fontsize=8)
    return figure


def calibration(bins: list[dict[str, Any]]) -> Figure:
    """Observed share, with its interval, against mean score, by bins of equally many rows."""
    figure, axes = _axes("Calibration on the judge slice", "mean predicted probability", "observed share")
    score = [entry["mean_score"] for entry in bins]
    observed = [entry["observed"]["value"] for entry in bins]
    below = [entry["observed"]["value"] - entry["observed"]["low"] for entry in bins]
    above = [entry["observed"]["high"] - entry["observed"]["value"] for entry in bins]
    top = max(*score, *observed) * 1.05
    axes.plot([0, top], [0, top], color=GREY, linewidth=0.8, linestyle="--")
    axes.errorbar(score, observed, yerr=np.clip([below, above], 0, None), fmt="o-", color=MODEL, elinewidth=0.8)
    return figure


def importance(table: pd.DataFrame, shown: int = 20) -> Figure:
    """The features whose shuffling costs most; ``table`` holds feature, mean and deviation."""
    top = table.head(shown).iloc[::-1]
    figure, axes = _axes("Permutation importance on the choose slice", "loss of ROC AUC", "", (6.2, 5.6))
    axes.barh(top["feature"], top["mean"], xerr=top["deviation"], color=MODEL, error_kw={"linewidth": 0.8})
    axes.tick_params(axis="y", labelsize=8)
    return figure


def rates(target: str, panels: Mapping[str, pd.DataFrame]) -> Figure:
    """Observed and predicted share of the target, a panel for each column.

    Each table holds ``value``, ``row_target``, and ``model`` (NaN outside the judge slice).
    """
    figure = Figure(figsize=(6.4, 2.9 * len(panels)), dpi=110, layout="constrained")
    for axes, (column, rows) in zip(figure.subplots(len(panels), squeeze=False).flat, panels.items(), strict=True):
        _rate(axes, column, target, rows)
    return figure


def _rate(axes: Axes, column: str, target: str, rows: pd.DataFrame) -> None:
    everything = rows.groupby("value", observed=True)["row_target"].mean()
    judged = rows[rows["model"].notna()].groupby("value", observed=True)[["row_target", "model"]].mean()
    position = {value: place for place, value in enumerate(everything.index)}
    at = [position[value] for value in judged.index]
    axes.bar(range(len(everything)), everything, color="#d5dce0", label="observed, all slices")
    axes.plot(at, judged["row_target"], "o", color=OTHER, markersize=4, label="observed, judge slice")
    axes.plot(at, judged["model"], "x", color=MODEL, markersize=6, label="predicted, judge slice")
    axes.set_xticks(
        range(len(everything)), [f"{value:g}" if isinstance(value, float) else str(value) for value in position]
    )
    axes.set(title=f"Share of {target} by {column}", ylabel=f"share {target}")
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7)
