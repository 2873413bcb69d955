"""Quality of probabilities of a binary target, each figure with a bootstrap interval.

The bootstrap draws blocks of rows (days, where rows have a time) with replacement, because
rows of one day are late together and drawing them one by one would promise too much
(Künsch 1989, The jackknife and the bootstrap for general stationary observations). A draw is a
weight per row, and every metric is a weighted sum over scores sorted once.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

METRICS = ("roc_auc", "average_precision", "log_loss", "brier", "calibration_gap")
SMALLER_IS_BETTER = ("log_loss", "brier")
DIGITS = 6
_SMALLEST = 1e-7  # keeps the logarithm of a probability of 0 finite; float32 resolves no less near 1


def _quantile_bins(scores: Float, bins: int) -> Int:
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.unique(np.searchsorted(edges, scores, side="right"), return_inverse=True)[1]  # no empty bins


@dataclass(frozen=True)
class Scored:
    """n labels (0 or 1) with n probabilities, prepared for weighted metrics."""

    labels: Float
    scores: Float
    errors: Float  # what is promised less what happened
    losses: Float  # negative logarithm of the probability of what happened
    rank: Int  # 0 for the highest score; equal scores share a rank
    bins: Int  # calibration bin, by quantiles of the scores

    @classmethod
    def of(cls, labels: npt.ArrayLike, scores: npt.ArrayLike, bins: int) -> "Scored":
        """Do once what no weight changes: sort, take logarithms. ``bins`` is the number of calibration bins."""
        happened, promised = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
        clipped = np.clip(promised, _SMALLEST, 1 - _SMALLEST)
        losses = -np.log(np.where(happened == 1, clipped, 1 - clipped))
        rank = np.unique(-promised, return_inverse=True)[1]
        return cls(happened, promised, promised - happened, losses, rank, _quantile_bins(promised, bins))

    def metrics(self, weights: Float) -> dict[str, float]:
        """Compute all of ``METRICS`` with n weights, as scikit-learn does with ``sample_weight``.

        The calibration gap is the mean score minus the share of positives: above zero promises
        too much. Unlike a binned error it is not pushed up by every draw of the bootstrap.
        """
        positive = np.bincount(self.rank, weights * self.labels)
        negative = np.bincount(self.rank, weights * (1 - self.labels))
        positives, negatives = np.cumsum(positive), np.cumsum(negative)
        total = weights.sum()
        with np.errstate(invalid="ignore", divide="ignore"):  # a draw or a slice without a class: NaN
            pairs = positives[-1] * negatives[-1]
            precision = positives / (positives + negatives)
            return {
                "roc_auc": float((negative * (positives - positive / 2)).sum() / pairs),
                "average_precision": float(np.nansum(positive * precision) / positives[-1]),
                "log_loss": float((weights * self.losses).sum() / total),
                "brier": float((weights * self.errors**2).sum() / total),
                "calibration_gap": float((weights * self.errors).sum() / total),
            }

    def confusion(self, weights: Float, threshold: float) -> dict[str, float]:
        """Count decisions at the threshold, with precision, recall and F1."""
        decided, late = self.scores >= threshold, self.labels == 1
        hit, alarm, miss = (float(weights[rows].sum()) for rows in (decided & late, decided & ~late, ~decided & late))
        return {
            "true_positives": hit,
            "false_positives": alarm,
            "false_negatives": miss,
            "true_negatives": float(weights[~decided & ~late].sum()),
            "precision": hit / (hit + alarm) if hit + alarm else float("nan"),
            "recall": hit / (hit + miss) if hit + miss else float("nan"),
            "f1": 2 * hit / (2 * hit + alarm + miss) if hit + alarm + miss else float("nan"),
        }

    def observed_by_bin(self, weights: Float) -> dict[str, float]:
        """Share of positives in each calibration bin, by the number of the bin."""
        with np.errstate(invalid="ignore"):  # a draw may leave a bin empty
            shares = np.bincount(self.bins, weights * self.labels) / np.bincount(self.bins, weights)
        return {str(number): float(share) for number, share in enumerate(shares)}

    def mean_score_by_bin(self) -> dict[str, float]:
        """Mean score of each calibration bin, by the number of the bin."""
        means = np.bincount(self.bins, self.scores) / np.bincount(self.bins)
        return {str(number): rounded(mean) for number, mean in enumerate(means)}


def rounded(value: float) -> float:
    """Round to the digits reported: far more than the interval resolves, far fewer than the last bit."""
    return round(float(value), DIGITS)


def interval(figure: Mapping[str, float | None], digits: int = 3) -> str:
    """Format a figure with its interval, such as ``0.741 [0.730, 0.752]``."""
    if figure["value"] is None:
        return "undefined"
    if figure["low"] is None or figure["high"] is None:
        return f"{figure['value']:.{digits}f}"
    return f"{figure['value']:.{digits}f} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"


def day_blocks(times: pd.Series) -> Int:
    """Number the day of each of n times from 0, or the row itself where any time is missing."""
    if times.isna().any():
        return np.arange(len(times))
    return times.dt.normalize().rank(method="dense").astype("int64").to_numpy() - 1


@dataclass(frozen=True)
class Bootstrap:
    """Draws of blocks: ``blocks`` numbers the block of each row from 0."""

    blocks: Int
    samples: int
    confidence: float
    seed: int

    def weights(self) -> Iterator[Float]:
        """Yield one weight per row for each draw; the same draws every time."""
        random = np.random.default_rng(self.seed)
        count = int(self.blocks.max()) + 1
        for _ in range(self.samples):
            drawn = np.bincount(random.integers(count, size=count), minlength=count)
            yield drawn[self.blocks].astype(np.float64)

    def interval(self, compute: Callable[[Float], Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
        """Return value, low and high of each figure that ``compute`` returns for a weight per row.

        A figure that is undefined (a slice with one class only) is None.
        """
        value = compute(np.ones(len(self.blocks)))
        draws = [compute(weights) for weights in self.weights()]
        tail = (1 - self.confidence) / 2
        report: dict[str, dict[str, float | None]] = {}
        for name, point in value.items():
            drawn = np.array([draw[name] for draw in draws])
            drawn = drawn[~np.isnan(drawn)]
            low, high = np.quantile(drawn, [tail, 1 - tail]) if len(drawn) else (np.nan, np.nan)
            figures = {"value": point, "low": float(low), "high": float(high)}
            report[name] = {key: None if np.isnan(figure) else rounded(figure) for key, figure in figures.items()}
        return report


def improvement(model: Mapping[str, float], baseline: Mapping[str, float]) -> dict[str, float]:
    """How much better the model is: above zero is better, whichever way a metric runs."""
    better = {name: model[name] - baseline[name] for name in ("roc_auc", "average_precision")}
    better |= {name: baseline[name] - model[name] for name in SMALLER_IS_BETTER}
    return better | {"calibration_gap": abs(baseline["calibration_gap"]) - abs(model["calibration_gap"])}


def best_threshold(labels: npt.NDArray[Any], scores: npt.NDArray[Any]) -> float:
    """Return the score at which deciding for the positive label gives the highest F1."""
    candidates, rank = np.unique(-scores.astype(np.float64), return_inverse=True)
    hits = np.cumsum(np.bincount(rank, labels.astype(np.float64)))
    decided = np.cumsum(np.bincount(rank))
    f1 = 2 * hits / (decided + labels.sum())
    return float(-candidates[int(np.argmax(f1))])
