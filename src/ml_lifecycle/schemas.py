"""Data contracts of the example: the five raw tables, and the tables between pipelines.

A schema class refuses a table: a wrong type, a missing column, a duplicate key. A ``Rows``
class holds rules a single row may break; such rows go to quarantine, not the whole table.
Every column carries the moment when its value is known (``moments.py``).
"""

from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.typing.pandas import Series

from ml_lifecycle.moments import Moment
from ml_lifecycle.request_columns import FLIGHT_REQUEST, RequestColumn

NEW_YORK = "America/New_York"
NEW_YORK_AIRPORTS = ("EWR", "JFK", "LGA")

END_OF_DAY = 2400  # clock times are hour * 100 + minute
MINUTES_PER_HOUR = 60

UTC = Annotated[pd.DatetimeTZDtype, "us", "UTC"]


def _field(known: Moment, **rules: Any) -> Any:
    return pa.Field(metadata={"known_at": known}, **rules)


def _schedule(**rules: Any) -> Any:
    return _field(Moment.SCHEDULE, **rules)


def _before(**rules: Any) -> Any:
    return _field(Moment.BEFORE_DEPARTURE, **rules)


def _departure(**rules: Any) -> Any:
    return _field(Moment.AT_DEPARTURE, **rules)


def _landing(**rules: Any) -> Any:
    return _field(Moment.AFTER_LANDING, **rules)


class Table(pa.DataFrameModel):
    """A table with exactly the columns it names."""

    class Config:
        """Refuse columns nobody declared."""

        strict = True

    @classmethod
    def known_at(cls) -> dict[str, Moment]:
        """Map each column to the moment when its value is known."""
        columns = cls.to_schema().columns
        return {name: Moment(column.metadata["known_at"]) for name, column in columns.items()}


class Flights(Table):
    """Departures from New York in 2013, one row each. Clock times are local, as hour * 100 + minute."""

    year: int = _schedule()
    month: int = _schedule()
    day: int = _schedule()
    dep_time: float = _departure(nullable=True)
    sched_dep_time: int = _schedule()
    dep_delay: float = _departure(nullable=True)
    arr_time: float = _landing(nullable=True)
    sched_arr_time: int = _schedule()
    arr_delay: float = _landing(nullable=True)
    carrier: str = _schedule()
    flight: int = _schedule()
    tailnum: str = _before(nullable=True)  # an aircraft is assigned late, and may be swapped
    origin: str = _schedule()
    dest: str = _schedule()
    air_time: float = _landing(nullable=True)
    distance: int = _schedule()
    hour: int = _schedule()
    minute: int = _schedule()
    time_hour: str = _schedule()


class Weather(Table):
    """Hourly weather at the three airports. ``time_hour`` is the start of the hour, UTC."""

    origin: str = _before()
    year: int = _before()
    month: int = _before()
    day: int = _before()
    hour: int = _before()
    temp: float = _before(nullable=True)
    dewp: float = _before(nullable=True)
    humid: float = _before(nullable=True)
    wind_dir: float = _before(nullable=True)
    wind_speed: float = _before(nullable=True)
    wind_gust: float = _before(nullable=True)
    precip: float = _before(nullable=True)
    pressure: float = _before(nullable=True)
    visib: float = _before(nullable=True)
    time_hour: str = _before()

    class Config:
        """One observation per airport and hour."""

        strict = True
        unique: ClassVar = ["origin", "time_hour"]


class Planes(Table):
    """Aircraft, one row per tail number."""

    tailnum: str = _before(unique=True)
    year: float = _before(nullable=True)
    type: str = _before()
    manufacturer: str = _before()
    model: str = _before()
    engines: int = _before()
    seats: int = _before()
    speed: float = _before(nullable=True)
    engine: str = _before()


class Airports(Table):
    """Airports, one row per FAA code; ``tzone`` is an IANA time zone."""

    faa: str = _schedule(unique=True)
    name: str = _schedule()
    lat: float = _schedule()
    lon: float = _schedule()
    alt: int = _schedule()
    tz: int = _schedule()
    dst: str = _schedule()
    tzone: str = _schedule(nullable=True)


class Airlines(Table):
    """Carriers, one row per code."""

    carrier: str = _schedule(unique=True)
    name: str = _schedule()


def _is_clock(time: pd.Series) -> pd.Series:
    return time.isna() | (time.between(0, END_OF_DAY) & (time % 100 < MINUTES_PER_HOUR))


def _scheduled_hour_utc(flights: pd.DataFrame) -> pd.Series:
    return pd.to_datetime(flights["time_hour"], utc=True, errors="coerce")


class FlightRows(pa.DataFrameModel):
    """What each row of the flights table must fulfil; a rule's name is the quarantine reason."""

    origin: str = pa.Field(isin=NEW_YORK_AIRPORTS)
    distance: int = pa.Field(gt=0)

    @pa.dataframe_check(name="a clock time that does not exist")
    def clock_times_exist(cls, flights: pd.DataFrame) -> pd.Series:
        """Each clock time is an hour and a minute of a day, or missing."""
        columns = ["sched_dep_time", "sched_arr_time", "dep_time", "arr_time"]
        return flights[columns].apply(_is_clock).all(axis=1)

    @pa.dataframe_check(name="schedule and time_hour disagree")
    def schedule_agrees_with_time_hour(cls, flights: pd.DataFrame) -> pd.Series:
        """The local schedule and the UTC hour name the same hour, whatever the season."""
        local = _scheduled_hour_utc(flights).dt.tz_convert(NEW_YORK)
        same_day = (
            (local.dt.year == flights["year"]) & (local.dt.month == flights["month"]) & (local.dt.day == flights["day"])
        )
        return same_day & (local.dt.hour == flights["sched_dep_time"] // 100)

    @pa.dataframe_check(name="a flight listed twice")
    def listed_once(cls, flights: pd.DataFrame) -> pd.Series:
        """A carrier's flight number leaves an airport once a day; the first listing counts."""
        return ~flights.duplicated(["year", "month", "day", "carrier", "flight", "origin"])

    @pa.dataframe_check(name="a delay without a departure")
    def delays_have_departures(cls, flights: pd.DataFrame) -> pd.Series:
        """A flight that did not leave did not arrive."""
        return flights["dep_delay"].notna() | flights["arr_delay"].isna()


class WeatherRows(pa.DataFrameModel):
    """Physically possible weather; the limits are far outside New York's records."""

    temp: float = pa.Field(in_range={"min_value": -60, "max_value": 140}, nullable=True)  # °F
    humid: float = pa.Field(in_range={"min_value": 0, "max_value": 100}, nullable=True)  # %
    wind_speed: float = pa.Field(in_range={"min_value": 0, "max_value": 250}, nullable=True)  # mph
    pressure: float = pa.Field(in_range={"min_value": 850, "max_value": 1100}, nullable=True)  # hPa
    visib: float = pa.Field(in_range={"min_value": 0, "max_value": 100}, nullable=True)  # miles


class PlaneRows(pa.DataFrameModel):
    """Plausible aircraft."""

    year: float = pa.Field(in_range={"min_value": 1930, "max_value": 2014}, nullable=True)
    seats: int = pa.Field(gt=0)


class ScheduledFlights(Table):
    """Every scheduled departure, flown or not, with what became of it. Delays are minutes."""

    flight_key: str = _schedule(unique=True)
    scheduled_departure: UTC = _schedule()
    scheduled_local: Series[pa.DateTime] = _schedule()  # the wall clock in New York
    scheduled_minutes: np.int64 = _schedule(gt=0)  # from gate to gate
    carrier: str = _schedule()
    flight: int = _schedule()
    tailnum: str = _before(nullable=True)
    origin: str = _schedule()
    dest: str = _schedule()
    distance: int = _schedule()  # miles
    departed_at: UTC = _departure(nullable=True)
    departure_delay: float = _departure(nullable=True)
    arrived_at: UTC = _landing(nullable=True)
    air_minutes: float = _landing(nullable=True)
    arrival_delay: float = _landing(nullable=True)


_KINDS: dict[tuple[str, str | None], Any] = {
    ("text", None): str,
    ("number", None): float,
    ("whole", None): np.int64,
    ("moment", None): Series[pa.DateTime],
    ("moment", "UTC"): UTC,
}


def _declared(column: RequestColumn) -> Any:
    """The annotation that makes a column of requests a column of a table."""
    kind = _KINDS[column.kind, column.time_zone]
    rules = {} if column.minimum is None else {"ge": column.minimum}
    field = _field(column.known_at, nullable=column.nullable, unique=column.unique, **rules)
    return Annotated[kind, field] if column.required else Annotated[kind, field] | None


class FlightRequests(Table):
    """What a prediction is asked with: a scheduled flight and the state of the world.

    State is looked up as of the prediction time. Mean delays are minutes, shares lie in
    [0, 1], counts are flights. Columns known after ``features.prediction_moment`` are left out,
    so all but the schedule is optional. ``request_columns.py`` declares the columns.
    """

    __annotations__ = {column.name: _declared(column) for column in FLIGHT_REQUEST}


class Quarantine(pa.DataFrameModel):
    """Rows that were set aside: which table, which row of it (from 0), why, and the row itself as JSON."""

    table: str = pa.Field()
    row: np.int64 = pa.Field(ge=0)
    reason: str = pa.Field()
    record: str = pa.Field()

    class Config:
        """Refuse columns nobody declared."""

        strict = True


class ModelInput(pa.DataFrameModel):
    """The table to learn from: a key, perhaps a time, a slice, a label and then the features."""

    row_key: str = pa.Field(unique=True)
    row_time: Series[pa.DateTime] = pa.Field(nullable=True)
    row_split: str = pa.Field(isin=("train", "choose", "judge"))
    row_target: np.int8 = pa.Field(isin=(0, 1))

    @pa.dataframe_check(name="features are float32 or text without gaps")
    def features_have_types(cls, table: pd.DataFrame) -> bool:
        """Numbers are float32 (missing is NaN), categories text (missing is empty)."""
        columns = table.drop(columns=[name for name in table if str(name).startswith("row_")])
        return all(
            column.dtype == np.float32 or (column.dtype == "str" and column.notna().all())
            for _, column in columns.items()
        )


class EvaluationScores(pa.DataFrameModel):
    """Probabilities of the positive class on rows the model has not learned from."""

    row_key: str = pa.Field(unique=True)
    row_split: str = pa.Field(isin=("choose", "judge"))
    row_target: np.int8 = pa.Field(isin=(0, 1))
    model: np.float32 = pa.Field(in_range={"min_value": 0, "max_value": 1})


class Predictions(pa.DataFrameModel):
    """One answer per request, and all that is needed to find its model; ``prediction_log`` keeps those of every run.

    ``request_id`` names an answer among those of all runs.
    """

    request_id: str = pa.Field(unique=True, str_matches=r"^[0-9]{8}-[0-9a-f]{32}$")
    request_key: str = pa.Field(unique=True)
    probability: np.float32 = pa.Field(in_range={"min_value": 0, "max_value": 1})
    decision: str = pa.Field()
    model_name: str = pa.Field()
    model_version: str = pa.Field()
    model_digest: str = pa.Field(str_matches=r"^[0-9a-f]{64}$")
    scored_at: UTC = pa.Field()

    class Config:
        """Refuse columns nobody declared."""

        strict = True
