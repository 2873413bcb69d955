"""The state of the world as of the prediction time, nothing later."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_lifecycle.parameters import FeatureOptions, FlightOptions
from ml_lifecycle.pipelines.data_engineering import flights as example
from ml_lifecycle.pipelines.data_engineering import lookups
from ml_lifecycle.request_columns import FLIGHT_REQUEST

MakeFlights = Callable[..., pd.DataFrame]
Requests = Callable[..., pd.DataFrame]
Raw = dict[str, pd.DataFrame]
ASKED = pd.Timestamp("2013-06-15 10:00")  # local; the flight that asks leaves two hours later
ASKING = {"departs": "2013-06-15 12:00", "flight": 9, "tailnum": "N1", "origin": "EWR", "dest": "BOS"}
WEATHER = list(lookups.WEATHER_COLUMNS)
#: Looked up as of the prediction time; the aircraft's record and the schedule are the other columns.
STATE = {
    *(window.column for window in lookups.WINDOWS),
    *lookups.WEATHER_COLUMNS.values(),
    "aircraft_departure_delay",
    "aircraft_departure_age",
    "aircraft_arrival_delay",
    "aircraft_arrival_age",
    "origin_backlog_6h",
    "origin_carrier_backlog_6h",
}


@pytest.fixture
def look_up(raw_tables: Raw, flight_options: FlightOptions, before_departure: FeatureOptions) -> Requests:
    """Make the requests from flights and weather, with other options where asked for."""

    def requests(flights: pd.DataFrame, weather: pd.DataFrame | None = None, **changed: Any) -> pd.DataFrame:
        options = flight_options.model_copy(update=changed)
        scheduled = example.schedule_flights(flights, raw_tables["airports"], raw_tables["airlines"], options)
        weather = raw_tables["weather"] if weather is None else weather
        return example.look_up_state(scheduled, weather, raw_tables["planes"], options, before_departure)

    return requests


@pytest.fixture
def scheduled(raw_tables: Raw, flight_options: FlightOptions) -> pd.DataFrame:
    """The schedule of three busy days, with what became of each flight."""
    return example.schedule_flights(
        raw_tables["flights"], raw_tables["airports"], raw_tables["airlines"], flight_options
    )


def plant_after(raw: Raw, scheduled: pd.DataFrame, moment: pd.Timestamp) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Change to wild values all that became known after ``moment``, and cancel every other later departure."""
    flights, weather = raw["flights"].copy(), raw["weather"].copy()
    leaves_later = ~(scheduled["departed_at"] <= moment)
    lands_later = ~(scheduled["arrived_at"] <= moment)
    flights.loc[leaves_later, "dep_delay"] += 777
    flights.loc[lands_later, ["arr_delay", "air_time"]] += 1999
    cancelled = leaves_later & (np.arange(len(flights)) % 2 == 0)
    flights.loc[cancelled, ["dep_delay", "arr_delay", "air_time"]] = np.nan
    known = pd.to_datetime(weather["time_hour"]) + pd.Timedelta(hours=1)
    weather.loc[known > moment, WEATHER] = 9999.0
    return flights, weather


def changed_columns(before: pd.DataFrame, after: pd.DataFrame, row: int) -> set[str]:
    """Name the columns in which one row differs."""
    pair = pd.concat([before.loc[[row]], after.loc[[row]]])
    return {name for name in pair if len(pair[name].drop_duplicates()) > 1}


def asked_at(scheduled: pd.DataFrame, row: int) -> pd.Timestamp:
    """When the prediction of a flight is made: two hours before its scheduled departure."""
    return scheduled.loc[row, "scheduled_departure"] - pd.Timedelta(hours=2)


def test_nothing_that_became_known_later_changes_a_request(
    raw_tables: Raw, scheduled: pd.DataFrame, look_up: Requests
) -> None:
    """Wild values planted everywhere after a flight's prediction time leave its request as it was, for every flight."""
    requests = look_up(raw_tables["flights"])
    leaks = {
        row: changed_columns(requests, look_up(*plant_after(raw_tables, scheduled, asked_at(scheduled, row))), row)
        for row in scheduled.index
    }
    assert {} == {row: columns for row, columns in leaks.items() if columns}


def test_the_planted_values_reach_every_column_if_the_question_comes_too_late(
    raw_tables: Raw, scheduled: pd.DataFrame, look_up: Requests
) -> None:
    """Asked a minute before departure, the same planted values show in every state column: the proof above can fail."""
    requests = look_up(raw_tables["flights"], lead_time_minutes=1)
    leaks = [
        changed_columns(
            requests,
            look_up(*plant_after(raw_tables, scheduled, asked_at(scheduled, row)), lead_time_minutes=1),
            row,
        )
        for row in scheduled.index
    ]
    assert STATE == set().union(*leaks)


def test_weather_planted_later_shows_if_observations_count_from_their_stamp(
    raw_tables: Raw, scheduled: pd.DataFrame, look_up: Requests
) -> None:
    """Without the hour it takes to observe an hour, planted weather would reach the requests."""
    requests = look_up(raw_tables["flights"], weather_known_after_minutes=0)
    _, weather = plant_after(raw_tables, scheduled, asked_at(scheduled, 10))
    planted = look_up(raw_tables["flights"], weather, weather_known_after_minutes=0)
    assert set(lookups.WEATHER_COLUMNS.values()) == changed_columns(requests, planted, 10)


def departing(minutes_before: int, **columns: Any) -> dict[str, Any]:
    """Plan a flight that leaves, 90 minutes late, so many minutes before the prediction time."""
    leaves = ASKED - pd.Timedelta(minutes=90 + minutes_before)
    return {"departs": str(leaves), "dep_delay": 90, "arr_delay": 90, "flight": 1, "tailnum": "N2"} | columns


def landing(minutes_before: int, **columns: Any) -> dict[str, Any]:
    """Plan a flight that arrives, 40 minutes late, so many minutes before the prediction time."""
    leaves = ASKED - pd.Timedelta(minutes=160 + minutes_before)
    return {"departs": str(leaves), "dep_delay": 40, "arr_delay": 40, "flight": 1, "tailnum": "N2"} | columns


@pytest.mark.parametrize(
    ("minutes_before", "expected"),
    [(-1, np.nan), (0, 90.0), (1, 90.0), (59, 90.0), (60, np.nan)],
    ids=["a minute later", "just then", "a minute before", "in the window", "too old"],
)
def test_a_departure_counts_from_the_minute_it_leaves(
    minutes_before: int, expected: float, make_flights: MakeFlights, look_up: Requests
) -> None:
    """A departure delay known by the prediction time is in the mean of the last hour, a later or older one is not."""
    requests = look_up(make_flights(departing(minutes_before), ASKING))
    np.testing.assert_equal(expected, requests.loc[1, "origin_departure_delay_1h"])


@pytest.mark.parametrize(("minutes_before", "expected"), [(-1, np.nan), (0, 40.0), (1, 40.0)])
def test_an_arrival_counts_from_the_minute_it_lands(
    minutes_before: int, expected: float, make_flights: MakeFlights, look_up: Requests
) -> None:
    """An arrival delay is known when the flight has arrived, not when it was due."""
    requests = look_up(make_flights(landing(minutes_before), ASKING))
    np.testing.assert_equal(expected, requests.loc[1, "origin_arrival_delay_3h"])


def test_an_arrival_is_not_known_before_the_flight_has_flown(make_flights: MakeFlights, look_up: Requests) -> None:
    """A recorded delay that contradicts departure and air time counts from the later of the two moments."""
    impossible = landing(1, dep_delay=100, air_time=90.0)
    requests = look_up(make_flights(impossible, ASKING))
    np.testing.assert_equal(np.nan, requests.loc[1, "origin_arrival_delay_3h"])


@pytest.mark.parametrize(
    ("other", "column", "expected"),
    [
        ({"origin": "JFK"}, "origin_departure_delay_3h", np.nan),
        ({"origin": "JFK"}, "network_departure_delay_3h", 90.0),
        ({"carrier": "B6"}, "origin_carrier_departure_delay_6h", np.nan),
        ({"carrier": "B6"}, "origin_departure_delay_3h", 90.0),
    ],
)
def test_means_are_of_flights_alike_in_the_key_columns(
    other: dict[str, Any], column: str, expected: float, make_flights: MakeFlights, look_up: Requests
) -> None:
    """A flight from elsewhere, or of another carrier, counts only where that does not matter."""
    requests = look_up(make_flights(departing(5, **other), ASKING))
    np.testing.assert_equal(expected, requests.loc[1, column])


def test_late_shares_count_flights_from_the_threshold_on(make_flights: MakeFlights, look_up: Requests) -> None:
    """Of two flights of the route, one 14 and one 15 minutes late, half are late."""
    yesterday = "2013-06-14 08:00"
    requests = look_up(
        make_flights(
            {"departs": yesterday, "flight": 1, "arr_delay": 14},
            {"departs": yesterday, "flight": 2, "arr_delay": 15},
            {"departs": yesterday, "flight": 3, "arr_delay": np.nan},
            ASKING,
        )
    )
    assert 0.5 == requests.loc[3, "route_late_share_28d"]


def test_the_hour_of_a_share_is_the_local_one(make_flights: MakeFlights, look_up: Requests) -> None:
    """Flights of the same scheduled hour count, those of the next do not."""
    requests = look_up(
        make_flights(
            {"departs": "2013-06-14 12:59", "flight": 1, "arr_delay": 20},
            {"departs": "2013-06-14 13:00", "flight": 2, "arr_delay": 0},
            ASKING,
        )
    )
    assert 1.0 == requests.loc[2, "origin_hour_late_share_28d"]


def test_the_aircraft_brings_its_last_known_delays(make_flights: MakeFlights, look_up: Requests) -> None:
    """The newest departure and arrival of the same aircraft count, with their age in minutes."""
    requests = look_up(make_flights(landing(50, tailnum="N1"), departing(7, tailnum="N1", flight=2), ASKING))
    columns = ["aircraft_departure_delay", "aircraft_departure_age", "aircraft_arrival_delay", "aircraft_arrival_age"]
    assert [90, 7, 40, 50] == requests.loc[2, columns].tolist()


@pytest.mark.parametrize("tailnum", [None, "N8"], ids=["no tail number", "another aircraft"])
def test_another_aircraft_brings_no_delay(tailnum: str | None, make_flights: MakeFlights, look_up: Requests) -> None:
    """Flights without a tail number are not one aircraft, and another aircraft's delay says nothing."""
    requests = look_up(make_flights(departing(7, tailnum=tailnum), {**ASKING, "tailnum": None}))
    np.testing.assert_equal(np.nan, requests.loc[1, "aircraft_departure_delay"])


@pytest.mark.parametrize(
    ("tailnum", "year", "seats"),
    [("N1", 2003, 149), ("N2", np.nan, 55), ("N9", np.nan, np.nan), (None, np.nan, np.nan)],
)
def test_the_plane_record_is_looked_up_by_tail_number(
    tailnum: str | None, year: float, seats: float, make_flights: MakeFlights, look_up: Requests
) -> None:
    """An aircraft without a record, or without a name, has neither year nor seats."""
    requests = look_up(make_flights({**ASKING, "tailnum": tailnum}))
    np.testing.assert_equal([year, seats], requests.loc[0, ["aircraft_year", "aircraft_seats"]].tolist())


@pytest.mark.parametrize(
    ("left", "waiting"),
    [
        ({"dep_delay": 90}, 1),
        ({"dep_delay": 60}, 0),
        ({"dep_delay": np.nan, "arr_delay": np.nan}, 1),
        ({"departs": "2013-06-15 04:00", "dep_delay": 500}, 0),
        ({"departs": "2013-06-15 04:01", "dep_delay": 500}, 1),
        ({"departs": "2013-06-15 10:00", "dep_delay": 0}, 0),
        ({"departs": "2013-06-15 10:05", "dep_delay": -6}, 0),
        ({"departs": "2013-06-15 10:00", "dep_delay": 1}, 1),
        ({"departs": "2013-06-15 10:01", "dep_delay": 5}, 0),
    ],
    ids=[
        "still there",
        "left just then",
        "cancelled",
        "due six hours ago",
        "due less than six hours ago",
        "left on time just then",
        "left early",
        "due just then",
        "due later",
    ],
)
def test_the_backlog_counts_flights_that_should_have_left(
    left: dict[str, Any], waiting: int, make_flights: MakeFlights, look_up: Requests
) -> None:
    """Flights due within the last six hours that have not left are counted, and no others."""
    flight = {"departs": "2013-06-15 09:00", "flight": 1, "tailnum": "N2"} | left
    requests = look_up(make_flights(flight, ASKING))
    assert waiting == requests.loc[1, "origin_backlog_6h"]


def test_the_backlog_equals_its_definition(scheduled: pd.DataFrame, raw_tables: Raw, look_up: Requests) -> None:
    """On three busy days the backlog equals a search through all flights, at every prediction time."""
    expected = []
    for row in scheduled.index:
        moment = asked_at(scheduled, row)
        due = scheduled["scheduled_departure"].between(moment - pd.Timedelta(hours=6), moment, inclusive="right")
        gone = scheduled["departed_at"] <= moment
        same = scheduled["origin"] == scheduled.loc[row, "origin"]
        expected.append(int((due & ~gone & same).sum()))
    assert expected == look_up(raw_tables["flights"])["origin_backlog_6h"].tolist()


def test_congestion_counts_the_schedule_half_an_hour_around(make_flights: MakeFlights, look_up: Requests) -> None:
    """Flights scheduled from 29 minutes before to 30 minutes after count, the flight itself included."""
    times = ["11:30", "11:31", "12:30", "12:31"]
    others = [{"departs": f"2013-06-15 {time}", "flight": number} for number, time in enumerate(times)]
    requests = look_up(make_flights(*others, {**ASKING, "carrier": "B6"}))
    assert [3, 1] == requests.loc[4, ["origin_flights_in_hour", "origin_carrier_flights_in_hour"]].tolist()


@pytest.mark.parametrize(
    ("departs", "hour_seen"),
    [("2013-06-02 11:59", "12"), ("2013-06-02 12:00", "13"), ("2013-06-02 12:01", "13")],
    ids=["a minute too early", "an hour after the stamp", "later"],
)
def test_weather_is_known_an_hour_after_its_stamp(
    departs: str, hour_seen: str, make_flights: MakeFlights, look_up: Requests
) -> None:
    """At 10:00 in New York (14:00 UTC) the newest known observation is that stamped 13:00 UTC."""
    requests = look_up(make_flights({**ASKING, "departs": departs}))
    assert 70.0 + int(hour_seen) == requests.loc[0, "temperature"]


def test_weather_is_that_of_the_origin(raw_tables: Raw, make_flights: MakeFlights, look_up: Requests) -> None:
    """Each airport has its own observations."""
    weather = raw_tables["weather"].copy()
    weather.loc[weather["origin"] == "JFK", "temp"] = -5.0
    flight = {**ASKING, "departs": "2013-06-02 12:00"}
    requests = look_up(make_flights({**flight, "origin": "JFK"}, {**flight, "origin": "LGA"}), weather)
    assert [-5.0, 83.0] == requests["temperature"].tolist()


def test_weather_older_than_six_hours_is_missing(make_flights: MakeFlights, look_up: Requests) -> None:
    """Long after the last observation nothing is known of the weather."""
    requests = look_up(make_flights({**ASKING, "departs": "2013-06-10 12:00"}))
    assert requests[list(lookups.WEATHER_COLUMNS.values())].isna().all(axis=None)


def test_an_instrument_that_was_silent_stays_missing(
    raw_tables: Raw, make_flights: MakeFlights, look_up: Requests
) -> None:
    """A missing value of the newest observation is not replaced by an older one."""
    weather = raw_tables["weather"].copy()
    weather.loc[weather["time_hour"] == "2013-06-02T13:00:00Z", "wind_gust"] = np.nan
    requests = look_up(make_flights({**ASKING, "departs": "2013-06-02 12:00"}), weather)
    np.testing.assert_equal([np.nan, 83.0], requests.loc[0, ["wind_gust", "temperature"]].tolist())


def _meaning(window: lookups.Window) -> str:
    what = "share of late arrivals" if window.of == "late" else f"minutes, mean {window.of.replace('_', ' ')}"
    hours = window.minutes // lookups.HOUR
    duration = f"{hours} h" if window.minutes <= lookups.DAY else f"{hours // 24} days"
    who = f"same {' and '.join(window.keys)}" if window.keys else "all flights"
    return f"{what} over the last {duration}, {who}"


@pytest.mark.parametrize("window", lookups.WINDOWS, ids=lambda window: window.column)
def test_a_request_says_of_each_mean_what_it_is_of(window: lookups.Window) -> None:
    """What, how long and who stand in the meaning of the column as they are computed here."""
    meanings = {column.name: column.about for column in FLIGHT_REQUEST}
    assert _meaning(window) == meanings[window.column]
