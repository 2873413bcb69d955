"""Two models on the same rows: how much better one is, paired, with an interval.

Both meet the same days in every draw, so what makes a day hard for both cancels out of the
difference. Above zero the challenger is better, whichever way the metric runs.

The interval is the difference, plus and minus the spread of the draws times Student's quantile for
the number of days. The quantiles of the draws themselves promise too much on few days.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

import numpy as np
import pandas as pd

from ml_lifecycle import metrics

CHALLENGER, INCUMBENT = "challenger", "incumbent"
COLUMNS = ("row_key", "row_time", "row_target", CHALLENGER, INCUMBENT)
FEWEST_BLOCKS = 10  # the spread of fewer days is hardly known; that of one day is zero

Figures = dict[str, float | None]


def problem(rows: pd.DataFrame) -> str:
    """Say why two models cannot be compared on these rows; empty if they can.

    Args:
        rows: ``COLUMNS``, with the labels 0 and 1 and the probabilities of both models.
    """
    if lacking := [name for name in COLUMNS if name not in rows]:
        return f"the rows lack {', '.join(lacking)}; needed are {', '.join(COLUMNS)}"
    labels = rows["row_target"].to_numpy(dtype=np.float64, na_value=np.nan)
    scores = rows[[CHALLENGER, INCUMBENT]].to_numpy(dtype=np.float64, na_value=np.nan)
    faults = {
        "repeat a key": rows["row_key"].duplicated().to_numpy(),
        "lack a label 0 or 1": ~np.isin(labels, (0, 1)),
        "lack a probability of either model": ~((scores >= 0) & (scores <= 1)).all(axis=1),  # NaN is neither
    }
    found = [f"{faulty.sum():,} of {len(rows):,} rows {fault}" for fault, faulty in faults.items() if faulty.any()]
    if not found and len(np.unique(labels)) < len((0, 1)):
        found.append(f"{len(rows):,} rows with {labels.sum():,.0f} positives; both labels are needed")
    if not found and (blocks := _count(metrics.day_blocks(rows["row_time"]))) < FEWEST_BLOCKS:
        found.append(f"{blocks} days (rows, where times are missing); at least {FEWEST_BLOCKS} are needed")
    return "; ".join(found)


@dataclass(frozen=True)
class Pair:
    """Two models scored on the same rows."""

    challenger: metrics.Scored
    incumbent: metrics.Scored

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Self:
        """Sort the scores of both once."""
        return cls(*(metrics.Scored.of(rows["row_target"], rows[name], bins=1) for name in (CHALLENGER, INCUMBENT)))

    def figures(self, weights: metrics.Float, metric: str) -> dict[str, float]:
        """Compute the metric of both, and how much better the challenger is: ``value``."""
        challenger, incumbent = self.challenger.metrics(weights), self.incumbent.metrics(weights)
        value = metrics.improvement(challenger, incumbent)[metric]
        return {"value": value, CHALLENGER: challenger[metric], INCUMBENT: incumbent[metric]}


def difference(rows: pd.DataFrame, metric: str) -> Figures:
    """Compare without an interval: ``value``, the metric of each model, ``rows`` and ``positives``."""
    found = Pair.of(rows).figures(np.ones(len(rows)), metric)
    return _figures(**found) | {"rows": len(rows), "positives": int(rows["row_target"].sum())}


def compare(rows: pd.DataFrame, metric: str, confidence: float, samples: int, seed: int) -> Figures:
    """Add ``low`` and ``high`` to the difference, from draws of whole days, and the number of ``blocks``.

    Both are None where a draw leaves out a label that the metric needs: too few days have it.

    Args:
        rows: without a ``problem``.
        metric: one that ``metrics.improvement`` compares.
        confidence: of the interval from ``low`` to ``high``.
        samples: draws.
        seed: start of the draws.
    """
    pair, blocks = Pair.of(rows), metrics.day_blocks(rows["row_time"])
    bootstrap = metrics.Bootstrap(blocks, samples, confidence, seed)
    gains = np.array([pair.figures(weights, metric)["value"] for weights in bootstrap.weights()])
    value, count = pair.figures(np.ones(len(rows)), metric)["value"], _count(blocks)
    reach = _student((1 + confidence) / 2, count - 1) * gains.std(ddof=1) * np.sqrt(count / (count - 1))
    return difference(rows, metric) | _figures(low=value - reach, high=value + reach) | {"blocks": count}


def _student(share: float, freedom: int) -> float:
    """Quantile of Student's distribution, for 9 degrees of freedom or more (Abramowitz and Stegun 1964, 26.7.5)."""
    z = NormalDist().inv_cdf(share)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def _figures(**found: float) -> Figures:
    return {name: None if np.isnan(figure) else metrics.rounded(figure) for name, figure in found.items()}


def _count(blocks: metrics.Int) -> int:
    return int(blocks.max()) + 1
