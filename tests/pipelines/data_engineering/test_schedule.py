"""Clock times become moments in UTC, across time zones, midnights and clock changes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_lifecycle.errors import DataContractError
from ml_lifecycle.pipelines.data_engineering import schedule

MakeFlights = Callable[..., pd.DataFrame]


def utc(*moments: str) -> list[pd.Timestamp]:
    """Moments in UTC."""
    return [pd.Timestamp(moment, tz="UTC") for moment in moments]


def arrival(make_flights: MakeFlights, zone: str, **flight: Any) -> list[pd.Timestamp]:
    """Arrival in UTC of one flight to a place in ``zone``."""
    flights = make_flights(flight)
    return schedule.arrivals(flights, schedule.departures(flights), pd.Series([zone])).tolist()


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("2013-01-15 10:05", "2013-01-15 15:05"),
        ("2013-06-15 10:05", "2013-06-15 14:05"),
        ("2013-03-10 01:59", "2013-03-10 06:59"),
        ("2013-03-10 03:01", "2013-03-10 07:01"),
        ("2013-11-03 00:59", "2013-11-03 04:59"),
        ("2013-11-03 02:01", "2013-11-03 07:01"),
        ("2013-12-31 23:59", "2014-01-01 04:59"),
    ],
)
def test_departures_follow_the_season(local: str, expected: str, make_flights: MakeFlights) -> None:
    """New York's clock is five hours behind UTC in winter and four in summer, to the minute of the change."""
    assert utc(expected) == schedule.departures(make_flights({"departs": local})).tolist()


def test_the_repeated_hour_of_november_is_told_apart(make_flights: MakeFlights) -> None:
    """Two departures at 01:30 on 3 November 2013 are an hour apart if their UTC hours are."""
    flights = make_flights(
        {"departs": "2013-11-03 01:30", "time_hour": "2013-11-03T05:00:00Z"},
        {"departs": "2013-11-03 01:30", "time_hour": "2013-11-03T06:00:00Z"},
    )
    assert utc("2013-11-03 05:30", "2013-11-03 06:30") == schedule.departures(flights).tolist()


@pytest.mark.parametrize(
    ("zone", "clock", "expected"),
    [
        ("America/New_York", 1215, "2013-06-15 16:15"),
        ("America/Chicago", 1215, "2013-06-15 17:15"),
        ("America/Los_Angeles", 1215, "2013-06-15 19:15"),
        ("America/Puerto_Rico", 1415, "2013-06-15 18:15"),
        ("Pacific/Honolulu", 1415, "2013-06-16 00:15"),
        ("America/New_York", 15, "2013-06-16 04:15"),
        ("America/New_York", 2400, "2013-06-16 04:00"),
        ("America/New_York", 0, "2013-06-16 04:00"),
    ],
    ids=["east", "centre", "west", "Puerto Rico", "Hawaii", "after midnight", "2400", "0"],
)
def test_arrivals_are_read_in_the_zone_of_the_destination(
    zone: str, clock: int, expected: str, make_flights: MakeFlights
) -> None:
    """A scheduled arrival is the first moment after departure at which the destination's clock shows it."""
    assert utc(expected) == arrival(make_flights, zone, departs="2013-06-15 10:00", sched_arr_time=clock)


@pytest.mark.parametrize(
    ("departs", "zone", "clock", "expected"),
    [
        ("2013-03-09 23:00", "America/New_York", 30, "2013-03-10 05:30"),
        ("2013-03-09 23:00", "America/New_York", 330, "2013-03-10 07:30"),
        ("2013-03-10 01:30", "America/New_York", 330, "2013-03-10 07:30"),
        ("2013-03-10 22:53", "America/New_York", 14, "2013-03-11 04:14"),
        ("2013-03-10 21:00", "America/Los_Angeles", 32, "2013-03-11 07:32"),
        ("2013-03-10 21:00", "America/Puerto_Rico", 45, "2013-03-11 04:45"),
        ("2013-11-02 23:00", "America/New_York", 30, "2013-11-03 04:30"),
        ("2013-11-02 22:00", "America/New_York", 330, "2013-11-03 08:30"),
        ("2013-11-03 00:30", "America/New_York", 230, "2013-11-03 07:30"),
        ("2013-11-03 20:58", "America/New_York", 2, "2013-11-04 05:02"),
        ("2013-11-03 21:40", "America/Los_Angeles", 40, "2013-11-04 08:40"),
    ],
)
def test_arrivals_around_the_clock_changes_show_the_scheduled_time(
    departs: str, zone: str, clock: int, expected: str, make_flights: MakeFlights
) -> None:
    """On the days of both clock changes of 2013 the destination's clock shows the scheduled time on arrival."""
    assert utc(expected) == arrival(make_flights, zone, departs=departs, sched_arr_time=clock)


def test_an_arrival_in_the_repeated_hour_comes_after_departure_on_the_same_day(make_flights: MakeFlights) -> None:
    """Departing in the first 1 a.m. hour and arriving in the second takes an hour, not a day."""
    assert utc("2013-11-03 06:40") == arrival(
        make_flights, "America/New_York", departs="2013-11-03 01:50", sched_arr_time=140
    )


def test_an_arrival_in_the_hour_that_is_left_out_is_shifted_to_the_next(make_flights: MakeFlights) -> None:
    """A clock that jumps from 2 to 3 never shows 02:30; the arrival is read as 03:00."""
    assert utc("2013-03-10 07:00") == arrival(
        make_flights, "America/New_York", departs="2013-03-10 01:00", sched_arr_time=230
    )


def test_a_table_of_many_zones_keeps_its_rows(make_flights: MakeFlights) -> None:
    """Each row gets the arrival of its own zone, whatever the row numbers."""
    flights = make_flights({"sched_arr_time": 1215}, {"sched_arr_time": 1215}, {"sched_arr_time": 1215})
    flights.index = pd.Index([7, 3, 5])
    zones = pd.Series(["America/Chicago", "America/New_York", "America/Chicago"], index=flights.index)
    arrivals = schedule.arrivals(flights, schedule.departures(flights), zones)
    expected = dict(zip([7, 3, 5], utc("2013-06-15 17:15", "2013-06-15 16:15", "2013-06-15 17:15"), strict=True))
    assert expected == arrivals.to_dict()


def test_zones_come_from_the_airports(raw_tables: dict[str, pd.DataFrame], make_flights: MakeFlights) -> None:
    """The airports table knows the zone of most destinations."""
    zones = schedule.time_zones(make_flights({"dest": "ORD"}, {"dest": "BOS"}), raw_tables["airports"], {})
    assert ["America/Chicago", "America/New_York"] == zones.tolist()


def test_declared_zones_fill_the_gaps_and_win(raw_tables: dict[str, pd.DataFrame], make_flights: MakeFlights) -> None:
    """A zone among the parameters is used for a destination without one, and instead of the table's."""
    declared = {"SJU": "America/Puerto_Rico", "BOS": "America/Halifax"}
    zones = schedule.time_zones(make_flights({"dest": "SJU"}, {"dest": "BOS"}), raw_tables["airports"], declared)
    assert ["America/Puerto_Rico", "America/Halifax"] == zones.tolist()


@pytest.mark.parametrize("dest", ["SJU", "EWR"], ids=["no airport", "airport without zone"])
def test_destinations_without_a_zone_are_named(
    dest: str, raw_tables: dict[str, pd.DataFrame], make_flights: MakeFlights
) -> None:
    """The error names each such destination once and says where to declare its zone."""
    flights = make_flights({"dest": dest}, {"dest": "BOS"}, {"dest": dest}, {"dest": "AAA"})
    names = ", ".join(sorted(["AAA", dest]))
    with pytest.raises(DataContractError, match=rf"destinations {names}: .* flights\.airport_time_zones"):
        schedule.time_zones(flights, raw_tables["airports"], {})


def test_missing_outcomes_do_not_matter_to_the_schedule(make_flights: MakeFlights) -> None:
    """A cancelled flight has a scheduled departure like any other."""
    flights = make_flights({"dep_delay": np.nan, "arr_delay": np.nan})
    assert utc("2013-06-15 14:00") == schedule.departures(flights).tolist()
