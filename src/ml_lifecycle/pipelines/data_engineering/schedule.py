"""Clock times of the raw flights become moments in UTC."""

import pandas as pd

from ml_lifecycle.errors import DataContractError

TODAY, TOMORROW = pd.Timedelta(days=0), pd.Timedelta(days=1)


def _minutes(count: pd.Series) -> pd.Series:
    return pd.to_timedelta(count, unit="min").dt.as_unit("us")


def _of_clock(clock: pd.Series) -> pd.Series:
    """Time of day of hour * 100 + minute; 2400 is the midnight that ends the day."""
    return _minutes(clock // 100 * 60 + clock % 100)


def departures(flights: pd.DataFrame) -> pd.Series:
    """Scheduled departures in UTC: the raw UTC hour plus the minute of the local schedule.

    ``time_hour`` already tells the two 1 a.m. hours of November apart.
    """
    hour = pd.to_datetime(flights["time_hour"], utc=True).dt.as_unit("us")
    return hour + _minutes(flights["sched_dep_time"] % 100)


def time_zones(flights: pd.DataFrame, airports: pd.DataFrame, declared: dict[str, str]) -> pd.Series:
    """Time zone of each flight's destination, from the airports table or as declared.

    Raises:
        DataContractError: names the destinations without a time zone.
    """
    known = airports.set_index("faa")["tzone"].dropna().to_dict() | declared
    zones = flights["dest"].map(known)
    missing = sorted(flights.loc[zones.isna(), "dest"].unique())
    if missing:
        raise DataContractError(
            f"No time zone for the destinations {', '.join(missing)}: the airports table lacks them. "
            "Add each to flights.airport_time_zones in conf/base/parameters_data_engineering.yml, "
            "as an IANA name such as America/Puerto_Rico."
        )
    return zones


def _first_after(departure: pd.Series, local: pd.Series, zone: str) -> pd.Series:
    """First moment after departure at which the clocks of a zone show a local time, today or tomorrow.

    A time that a clock change repeats happens twice; one that it leaves out counts as the next that exists.
    """
    candidates = [
        (local + days).dt.tz_localize(zone, ambiguous=summer, nonexistent="shift_forward").dt.tz_convert("UTC")
        for days, summer in ((TODAY, True), (TODAY, False), (TOMORROW, True))
    ]
    first = candidates.pop()
    for candidate in reversed(candidates):
        first = candidate.where(candidate > departure, first)
    return first


def arrivals(flights: pd.DataFrame, departure: pd.Series, zones: pd.Series) -> pd.Series:
    """Scheduled arrivals in UTC: the first moment after departure that shows the scheduled local time."""
    midnight = pd.to_datetime(flights[["year", "month", "day"]]).dt.as_unit("us")
    wall_clock = midnight + _of_clock(flights["sched_arr_time"])
    arrival = pd.Series(pd.NaT, index=flights.index, dtype=departure.dtype)
    for zone, local in wall_clock.groupby(zones):
        arrival.loc[local.index] = _first_after(departure.loc[local.index], local, str(zone))
    return arrival
