"""The state of the world as of the prediction time of each scheduled flight."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from ml_lifecycle.history import Events, Float, Int, group_codes, mean_or_nan
from ml_lifecycle.parameters import FlightOptions

HOUR = 60
DAY = 24 * HOUR
EVER = 10_000 * DAY
WEATHER_AT_MOST_OLD = 6 * HOUR
AIRCRAFT_AT_MOST_OLD = 2 * DAY
BACKLOG = 6 * HOUR

WEATHER_COLUMNS = {
    "temp": "temperature",
    "dewp": "dew_point",
    "humid": "humidity",
    "wind_dir": "wind_direction",
    "wind_speed": "wind_speed",
    "wind_gust": "wind_gust",
    "precip": "precipitation",
    "pressure": "pressure",
    "visib": "visibility",
}


class Window(NamedTuple):
    """A mean over recent flights alike in the key columns: of a delay, or of being late."""

    column: str
    keys: tuple[str, ...]
    of: str
    minutes: int


WINDOWS = (
    Window("origin_departure_delay_1h", ("origin",), "departure_delay", HOUR),
    Window("origin_departure_delay_3h", ("origin",), "departure_delay", 3 * HOUR),
    Window("origin_carrier_departure_delay_6h", ("origin", "carrier"), "departure_delay", 6 * HOUR),
    Window("network_departure_delay_3h", (), "departure_delay", 3 * HOUR),
    Window("origin_arrival_delay_3h", ("origin",), "arrival_delay", 3 * HOUR),
    Window("dest_arrival_delay_6h", ("dest",), "arrival_delay", 6 * HOUR),
    Window("carrier_arrival_delay_6h", ("carrier",), "arrival_delay", 6 * HOUR),
    Window("flight_arrival_delay_28d", ("carrier", "flight"), "arrival_delay", 28 * DAY),
    Window("flight_late_share_28d", ("carrier", "flight"), "late", 28 * DAY),
    Window("route_late_share_28d", ("origin", "dest"), "late", 28 * DAY),
    Window("origin_carrier_late_share_28d", ("origin", "carrier"), "late", 28 * DAY),
    Window("origin_hour_late_share_28d", ("origin", "hour"), "late", 28 * DAY),
    Window("network_late_share_7d", (), "late", 7 * DAY),
)


def utc_minutes(times: pd.Series) -> Int:
    """Whole minutes since 1970 of UTC times; missing times must have been left out."""
    minutes: Int = times.dt.tz_convert(None).to_numpy("datetime64[m]").astype(np.int64)
    return minutes


class Outcomes(NamedTuple):
    """Something that happened to some flights: who, when (UTC minutes), and what (whole numbers)."""

    flights: pd.DataFrame
    time: Int
    value: Int


def _happened(flights: pd.DataFrame, when: str, what: pd.Series) -> Outcomes:
    rows = flights[when].notna() & what.notna()
    return Outcomes(flights[rows], utc_minutes(flights.loc[rows, when]), what[rows].to_numpy(np.int64))


def _groups(events: pd.DataFrame, queries: pd.DataFrame, keys: tuple[str, ...]) -> tuple[Int, Int]:
    if not keys:
        return np.zeros(len(events), np.int64), np.zeros(len(queries), np.int64)
    of_events, of_queries = group_codes(
        [events[key].to_numpy() for key in keys], [queries[key].to_numpy() for key in keys]
    )
    return of_events, of_queries


def recent_means(flights: pd.DataFrame, asked_at: Int, options: FlightOptions) -> dict[str, Float]:
    """Mean delays and shares of late flights over the windows that end at the prediction time.

    A departure delay is known when the flight leaves, an arrival delay when it arrives.
    """
    flights = flights.assign(hour=flights["scheduled_local"].dt.hour)
    late = (flights["arrival_delay"] >= options.delay_threshold_minutes).where(flights["arrival_delay"].notna())
    outcomes = {
        "departure_delay": _happened(flights, "departed_at", flights["departure_delay"]),
        "arrival_delay": _happened(flights, "arrived_at", flights["arrival_delay"]),
        "late": _happened(flights, "arrived_at", late),
    }
    means = {}
    for window in WINDOWS:
        happened = outcomes[window.of]
        of_events, of_queries = _groups(happened.flights, flights, window.keys)
        events = Events.of(of_events, happened.time, happened.value)
        means[window.column] = mean_or_nan(*events.trailing(of_queries, asked_at, window.minutes))
    return means


def backlog(flights: pd.DataFrame, asked_at: Int, keys: tuple[str, ...]) -> Int:
    """Count flights scheduled in the last six hours that have not left at the prediction time.

    Of the flights scheduled in the window, those that left are counted by the moment at which
    both their schedule and their departure have passed; a cancelled flight never leaves.
    """
    scheduled = utc_minutes(flights["scheduled_departure"])
    left = flights["departed_at"].notna().to_numpy()
    departed = utc_minutes(flights.loc[left, "departed_at"])
    everyone, group = _groups(flights, flights, keys)

    def count(groups: Int, time: Int, window: int) -> Int:
        return Events.of(groups, time, np.ones_like(time)).trailing(group, asked_at, window)[0]

    in_window = count(everyone, scheduled, BACKLOG)
    left_of_all = count(everyone[left], np.maximum(scheduled[left], departed), EVER)
    left_of_older = count(everyone[left], np.maximum(scheduled[left] + BACKLOG, departed), EVER)
    return in_window - (left_of_all - left_of_older)


def congestion(flights: pd.DataFrame, keys: tuple[str, ...]) -> Int:
    """Count flights scheduled within half an hour before or after, the flight itself included."""
    scheduled = utc_minutes(flights["scheduled_departure"])
    everyone, group = _groups(flights, flights, keys)
    events = Events.of(everyone, scheduled, np.ones_like(scheduled))
    return events.trailing(group, scheduled + HOUR // 2, HOUR)[0]


def aircraft_state(flights: pd.DataFrame, asked_at: Int) -> dict[str, Float]:
    """Delay and age in minutes of the last departure and the last arrival of the same aircraft."""
    state = {}
    named = flights["tailnum"].notna().to_numpy()
    for what, when in (("departure", "departed_at"), ("arrival", "arrived_at")):
        happened = _happened(flights[named], when, flights.loc[named, f"{what}_delay"])
        of_events, of_queries = _groups(happened.flights, flights, ("tailnum",))
        events = Events.of(of_events, happened.time, happened.value)
        delay, age = events.latest(of_queries, asked_at, AIRCRAFT_AT_MOST_OLD)
        state[f"aircraft_{what}_delay"], state[f"aircraft_{what}_age"] = delay, age
    return state


def weather_as_of(
    flights: pd.DataFrame, weather: pd.DataFrame, asked_at: Int, options: FlightOptions
) -> dict[str, Float]:
    """The newest observation at the origin that was known at the prediction time."""
    started = utc_minutes(pd.to_datetime(weather["time_hour"], utc=True))
    of_events, of_queries = _groups(weather, flights, ("origin",))
    known = started + options.weather_known_after_minutes
    events = Events.of(of_events, known, np.arange(len(weather)))
    row, _ = events.latest(of_queries, asked_at, WEATHER_AT_MOST_OLD)
    found = ~np.isnan(row)
    position = np.where(found, row, 0).astype(np.int64)
    return {
        ours: np.where(found, weather[theirs].to_numpy()[position], np.nan) for theirs, ours in WEATHER_COLUMNS.items()
    }
