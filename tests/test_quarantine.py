"""Quarantine: rows that break a rule are set aside, and nothing is lost."""

import json
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from ml_lifecycle import schemas
from ml_lifecycle.quarantine import COLUMNS, screen, set_aside

MakeFlights = Callable[..., pd.DataFrame]


@pytest.fixture
def flights(make_flights: MakeFlights) -> pd.DataFrame:
    """Four flights: a good one, one that breaks two rules, a good one, one that breaks one."""
    good = {"flight": 1}
    return make_flights(
        good,
        {"flight": 2, "origin": "BOS", "distance": 0},
        {"flight": 3},
        {"flight": 4, "sched_arr_time": 2460},
    )


def test_kept_and_quarantined_rows_add_up(flights: pd.DataFrame) -> None:
    """Every row is kept or in quarantine, never both."""
    kept, aside = screen("flights", flights, schemas.FlightRows)
    assert ([0, 2], [1, 3]) == (kept.index.tolist(), aside["row"].tolist())


def test_all_reasons_of_a_row_are_joined(flights: pd.DataFrame) -> None:
    """A row that breaks two rules is set aside once, with both reasons in alphabetical order."""
    _, aside = screen("flights", flights, schemas.FlightRows)
    assert "distance: greater_than(0); origin: isin(('EWR', 'JFK', 'LGA'))" == aside["reason"][0]


def test_the_record_is_the_row(flights: pd.DataFrame) -> None:
    """The row itself is kept as JSON, so that it can be repaired and put back."""
    _, aside = screen("flights", flights, schemas.FlightRows)
    row = json.loads(aside["record"][1])
    assert (list(flights.columns), 4, 2460) == (list(row), row["flight"], row["sched_arr_time"])


def test_a_clean_table_is_kept_whole(flights: pd.DataFrame) -> None:
    """Without broken rules the quarantine is an empty table of the right columns."""
    kept, aside = screen("flights", flights.loc[[0, 2]], schemas.FlightRows)
    assert ([0, 2], COLUMNS, 0) == (kept.index.tolist(), list(aside.columns), len(aside))


def test_a_table_may_go_to_quarantine_whole(flights: pd.DataFrame) -> None:
    """If every row breaks a rule, none is kept and none is lost."""
    kept, aside = screen("flights", flights.assign(distance=0), schemas.FlightRows)
    assert (0, 4) == (len(kept), len(aside))


@pytest.mark.parametrize("rows", [[], [0, 3]], ids=["no rows", "two rows"])
def test_quarantine_rows_fulfil_their_contract(flights: pd.DataFrame, rows: list[int]) -> None:
    """Quarantine rows have the declared columns and types, even when there are none."""
    aside = set_aside("flights", flights, pd.Series("because", index=rows, dtype="str"))
    schemas.Quarantine.validate(aside)
    assert rows == aside["row"].tolist()


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\u2028b", "a\x85b", "a\x1cb", 'a"b'])
def test_a_text_with_line_breaks_stays_one_record(text: str) -> None:
    """Line breaks of every kind inside a value do not tear a record apart."""
    table = pd.DataFrame({"name": [text, "plain"]})
    aside = set_aside("table", table, pd.Series("because", index=[0, 1], dtype="str"))
    assert [text, "plain"] == [json.loads(record)["name"] for record in aside["record"]]


def test_times_are_written_as_iso_8601() -> None:
    """A time in a quarantined row is readable."""
    table = pd.DataFrame({"at": pd.to_datetime(["2013-06-15 10:00"], utc=True)})
    record: dict[str, Any] = json.loads(set_aside("t", table, pd.Series("x", index=[0]))["record"][0])
    assert record["at"].startswith("2013-06-15T10:00:00")
