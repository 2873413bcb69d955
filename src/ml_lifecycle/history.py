"""What was known at a moment: as-of lookups over events, without a loop over rows.

Times are whole minutes since 1970-01-01 UTC (int64), values are whole numbers, so that
every sum is exact and the same on every machine. An event counts for a query when
``query - window < event <= query``: nothing after the query can change an answer.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

_TIME_BITS = 40  # minutes since 1970 fit in 26 bits; the group number goes above them
_TIME_OFFSET = 1 << (_TIME_BITS - 1)  # keeps "query minus window" inside its own group


def group_codes(*tables: Iterable[npt.ArrayLike]) -> list[Int]:
    """Number the distinct rows of several tables of key columns, alike in all of them.

    Each table is a sequence of equally long columns; the answer has one code per row
    for each table, equal where all key columns are equal.
    """
    frames = [pd.DataFrame(dict(enumerate(columns))) for columns in tables]
    stacked = pd.concat(frames, ignore_index=True)
    codes = stacked.groupby(list(stacked.columns), sort=True, dropna=False).ngroup().to_numpy(np.int64)
    ends = np.cumsum([len(frame) for frame in frames])
    return list(np.split(codes, ends[:-1]))


def _ordering_key(group: Int, time: Int) -> Int:
    return (group << _TIME_BITS) + time + _TIME_OFFSET


@dataclass(frozen=True)
class Events:
    """Events sorted by group and time, with running totals of their value.

    ``group``, ``time`` and ``value`` have one entry per event.
    """

    key: Int
    value: Int
    total: Int

    @classmethod
    def of(cls, group: Int, time: Int, value: Int) -> "Events":
        """Sort the events once; every question after that is a binary search."""
        key = _ordering_key(group, time)
        order = np.argsort(key, kind="stable")
        value = value[order]
        return cls(key[order], value, np.concatenate([[0], np.cumsum(value)]))

    def trailing(self, group: Int, time: Int, window: int) -> tuple[Int, Int]:
        """Return the count and the sum of each query's events in the last ``window`` minutes."""
        newest = np.searchsorted(self.key, _ordering_key(group, time), side="right")
        oldest = np.searchsorted(self.key, _ordering_key(group, time - window), side="right")
        return newest - oldest, self.total[newest] - self.total[oldest]

    def latest(self, group: Int, time: Int, window: int) -> tuple[Float, Float]:
        """Return the value and the age in minutes of each query's newest event, NaN where there is none."""
        query = _ordering_key(group, time)
        newest = np.searchsorted(self.key, query, side="right")
        known = newest > np.searchsorted(self.key, query - window, side="right")
        position = np.where(known, newest - 1, 0)
        if not len(self.key):
            return np.full(len(query), np.nan), np.full(len(query), np.nan)
        value = np.where(known, self.value[position], np.nan)
        age = np.where(known, query - self.key[position], np.nan)
        return value, age


def mean_or_nan(count: Int, total: Int) -> Float:
    """Divide, with NaN where nothing was counted."""
    mean = np.full(len(count), np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean
