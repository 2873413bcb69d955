"""As-of lookups against their definition in plain Python."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_lifecycle.history import Events, Int, group_codes, mean_or_nan

NOTHING = np.array([], dtype=np.int64)
moments = st.tuples(st.integers(0, 3), st.integers(-50, 50))
events_of = st.lists(st.tuples(st.integers(0, 3), st.integers(-50, 50), st.integers(-1000, 1000)), max_size=30)
queries_of = st.lists(moments, min_size=1, max_size=10)
windows = st.integers(1, 120)


def columns(rows: list[Any], width: int) -> list[Int]:
    """Turn rows into ``width`` arrays of whole numbers."""
    return list(np.array(rows, dtype=np.int64).reshape(-1, width).T)


def known(events: list[Any], query: tuple[int, int], window: int) -> list[Any]:
    """Apply the definition: same group, and ``query - window < event <= query``."""
    group, time = query
    return [event for event in events if event[0] == group and time - window < event[1] <= time]


@given(events_of, queries_of, windows)
def test_trailing_counts_and_sums_the_events_of_the_window(events: list[Any], queries: list[Any], window: int) -> None:
    """Counts and sums equal those of a search through all events."""
    count, total = Events.of(*columns(events, 3)).trailing(*columns(queries, 2), window)
    found = [known(events, query, window) for query in queries]
    assert [len(rows) for rows in found] == count.tolist()
    assert [sum(row[2] for row in rows) for rows in found] == total.tolist()


@given(events_of, queries_of, windows)
def test_latest_is_the_newest_event_of_the_window(events: list[Any], queries: list[Any], window: int) -> None:
    """Value and age equal those of the newest known event, the last listed one among simultaneous events."""
    value, age = Events.of(*columns(events, 3)).latest(*columns(queries, 2), window)
    expected = []
    for query in queries:
        newest = max(enumerate(known(events, query, window)), key=lambda entry: (entry[1][1], entry[0]), default=None)
        expected.append((np.nan, np.nan) if newest is None else (newest[1][2], query[1] - newest[1][1]))
    np.testing.assert_array_equal(np.array(expected, dtype=float), np.column_stack([value, age]))


@pytest.mark.parametrize(
    ("event", "counted"),
    [(100, 1), (101, 0), (41, 1), (40, 0)],
    ids=["at the query", "a minute later", "just inside the window", "at the window's edge"],
)
def test_the_window_is_open_at_its_start_and_closed_at_its_end(event: int, counted: int) -> None:
    """An event counts exactly if it lies after query - window and not after the query."""
    events = Events.of(*columns([(0, event, 5)], 3))
    count, _ = events.trailing(*columns([(0, 100)], 2), 60)
    assert [counted] == count.tolist()


def test_groups_do_not_see_each_other_however_long_the_window() -> None:
    """An event of one group never answers a query of another."""
    events = Events.of(*columns([(0, 10, 7), (2, 10, 9)], 3))
    count, total = events.trailing(*columns([(1, 10)], 2), 10_000 * 24 * 60)
    assert ([0], [0]) == (count.tolist(), total.tolist())


def test_of_simultaneous_events_the_last_listed_one_is_latest() -> None:
    """However many events share a minute, the order in which they are listed decides."""
    rows = [(0, 5, number) for number in range(1000)]
    value, _ = Events.of(*columns(rows, 3)).latest(*columns([(0, 5)], 2), 60)
    assert [999.0] == value.tolist()


def test_without_events_nothing_is_counted() -> None:
    """No events at all give counts of zero."""
    count, total = Events.of(NOTHING, NOTHING, NOTHING).trailing(*columns([(0, 1), (1, 2)], 2), 60)
    assert ([0, 0], [0, 0]) == (count.tolist(), total.tolist())


def test_without_events_nothing_is_latest() -> None:
    """No events at all give a missing value and a missing age."""
    value, age = Events.of(NOTHING, NOTHING, NOTHING).latest(*columns([(0, 1), (1, 2)], 2), 60)
    np.testing.assert_array_equal(np.full((2, 2), np.nan), [value, age])


def test_without_queries_the_answer_is_empty() -> None:
    """No queries get no answers."""
    value, _ = Events.of(*columns([(0, 1, 1)], 3)).latest(NOTHING, NOTHING, 60)
    assert [] == value.tolist()


def test_the_order_of_events_does_not_change_sums() -> None:
    """Events may come in any order."""
    rows = [(1, 5, 3), (0, 1, 4), (1, 2, 6)]
    query = columns([(1, 5), (0, 5)], 2)
    sums = [Events.of(*columns(order, 3)).trailing(*query, 60)[1].tolist() for order in (rows, rows[::-1])]
    assert [[9, 4], [9, 4]] == sums


def test_group_codes_are_equal_where_all_keys_are_equal() -> None:
    """Rows of two tables share a code exactly if they agree in every key column."""
    left, right = group_codes(
        [np.array(["EWR", "EWR", "JFK"]), np.array(["UA", "B6", "UA"])],
        [np.array(["JFK", "EWR", "LGA"]), np.array(["UA", "UA", "UA"])],
    )
    shared = [[bool(code == other) for other in right] for code in left]
    assert [[False, True, False], [False, False, False], [True, False, False]] == shared


def test_missing_keys_form_a_group_of_their_own() -> None:
    """A missing key has a code, and it is not that of any present key."""
    codes, _ = group_codes([np.array(["N1", None, None], dtype=object)], [np.array(["N1"], dtype=object)])
    assert (True, False) == (bool(codes[1] == codes[2]), bool(codes[0] == codes[1]))


def test_mean_of_nothing_is_missing() -> None:
    """The mean of no events is NaN, of some events their sum over their count."""
    mean = mean_or_nan(np.array([0, 4]), np.array([0, 10]))
    np.testing.assert_array_equal([np.nan, 2.5], mean)
