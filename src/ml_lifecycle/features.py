"""The one definition of every feature, for a table of 300,000 rows and for a single record.

Arrays of columns come in, arrays of features come out; there is no loop over rows. Lookups
that need history (weather, recent delays, an aircraft's last delay) are columns that come in.
Numbers leave as float32, which is what the trees split on and what ONNX computes with, so a
model sees the same values in training, in batch scoring and online.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import holidays
import numpy as np
import numpy.typing as npt

from ml_lifecycle.moments import Moment, latest
from ml_lifecycle.schemas import FlightRequests

Array = npt.NDArray[Any]
Columns = Mapping[str, Array]

MINUTES_PER_DAY = 24 * 60
HOLIDAY_HORIZON_DAYS = 7
_FIRST_YEAR, _LAST_YEAR = 1990, 2060


@dataclass(frozen=True)
class Feature:
    """A named column computed from others.

    ``compute`` takes one array per name in ``inputs`` and returns an array of the same length.
    """

    name: str
    inputs: tuple[str, ...]
    compute: Callable[..., Array]
    kind: Literal["numeric", "categorical"] = "numeric"

    @property
    def known_at(self) -> Moment:
        """The moment when all inputs are known."""
        known = FlightRequests.known_at()
        return latest(known[column] for column in self.inputs)


def as_numbers(values: Array) -> npt.NDArray[np.float32]:
    """Convert to float32; missing values become NaN."""
    return np.asarray(values).astype(np.float32)


def as_categories(values: Array) -> npt.NDArray[np.object_]:
    """Convert to text; missing values (None, NaN) become the empty text.

    Whole numbers lose their decimal point: a column of 1 and 2 with a gap is read as floats.
    """
    cells = np.asarray(values, dtype=object)
    if np.asarray(values).dtype.kind == "f":
        whole = np.isfinite(values) & (np.floor(values) == values)
        cells[whole] = np.asarray(values)[whole].astype(np.int64)
    present = np.equal(cells, cells) & np.not_equal(cells, np.array(None))  # NaN does not equal itself
    return np.where(present, cells, "").astype(str).astype(object)


def _minutes(local: Array) -> npt.NDArray[np.int64]:
    return local.astype("datetime64[m]").astype(np.int64)


def _days(local: Array) -> npt.NDArray[np.int64]:
    return local.astype("datetime64[D]").astype(np.int64)


def _minute_of_day(local: Array) -> Array:
    return _minutes(local) % MINUTES_PER_DAY


def _hour(local: Array) -> Array:
    return _minute_of_day(local) // 60


def _day_of_week(local: Array) -> npt.NDArray[np.int64]:
    return (_days(local) + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0


@lru_cache(maxsize=1)
def _us_holidays() -> npt.NDArray[np.int64]:
    observed = holidays.country_holidays("US", years=range(_FIRST_YEAR, _LAST_YEAR))
    return np.sort(np.array(list(observed), dtype="datetime64[D]").astype(np.int64))


def _days_to_holiday(local: Array) -> Array:
    """Days to the nearest federal holiday, past or coming, at most a week."""
    dates, days = _us_holidays(), _days(local)
    following = np.clip(np.searchsorted(dates, days), 1, len(dates) - 1)
    nearest = np.minimum(np.abs(dates[following] - days), np.abs(days - dates[following - 1]))
    return np.minimum(nearest, HOLIDAY_HORIZON_DAYS)


def _route(origin: Array, dest: Array) -> Array:
    return np.asarray(origin, dtype=object) + "-" + np.asarray(dest, dtype=object)


def _aircraft_age(local: Array, built: Array) -> Array:
    return local.astype("datetime64[Y]").astype(np.int64) + 1970 - built


def _same(column: str) -> Feature:
    return Feature(column, (column,), lambda values: values)


def _category(column: str) -> Feature:
    return Feature(column, (column,), lambda values: values, "categorical")


LOCAL = "scheduled_local"

FLIGHT_FEATURES: tuple[Feature, ...] = (
    Feature("hour", (LOCAL,), _hour),
    Feature("minute_of_day", (LOCAL,), _minute_of_day),
    Feature("day_of_week", (LOCAL,), _day_of_week),
    Feature("days_to_holiday", (LOCAL,), _days_to_holiday),
    _category("carrier"),
    _category("origin"),
    _category("dest"),
    Feature("route", ("origin", "dest"), _route, "categorical"),
    _same("distance"),
    _same("scheduled_minutes"),
    Feature("scheduled_speed", ("distance", "scheduled_minutes"), np.divide),  # miles a minute
    _same("origin_flights_in_hour"),
    _same("origin_carrier_flights_in_hour"),
    Feature("aircraft_age", (LOCAL, "aircraft_year"), _aircraft_age),
    _same("aircraft_seats"),
    _same("aircraft_departure_delay"),
    _same("aircraft_departure_age"),
    _same("aircraft_arrival_delay"),
    _same("aircraft_arrival_age"),
    _same("origin_departure_delay_1h"),
    _same("origin_departure_delay_3h"),
    _same("origin_carrier_departure_delay_6h"),
    _same("network_departure_delay_3h"),
    _same("origin_arrival_delay_3h"),
    _same("dest_arrival_delay_6h"),
    _same("carrier_arrival_delay_6h"),
    _same("flight_arrival_delay_28d"),
    _same("flight_late_share_28d"),
    _same("route_late_share_28d"),
    _same("origin_carrier_late_share_28d"),
    _same("origin_hour_late_share_28d"),
    _same("network_late_share_7d"),
    _same("origin_backlog_6h"),
    _same("origin_carrier_backlog_6h"),
    _same("temperature"),
    _same("dew_point"),
    Feature("dew_point_spread", ("temperature", "dew_point"), np.subtract),
    _same("humidity"),
    _same("wind_direction"),
    _same("wind_speed"),
    _same("wind_gust"),
    _same("precipitation"),
    _same("pressure"),
    _same("visibility"),
    _same("departure_delay"),
    _same("air_minutes"),
)


def flight_features(names: Sequence[str]) -> list[Feature]:
    """Look features up by name, in the order asked for."""
    by_name = {feature.name: feature for feature in FLIGHT_FEATURES}
    return [by_name[name] for name in names]


def known_at() -> dict[str, Moment]:
    """Map each feature to the moment when it is known."""
    return {feature.name: feature.known_at for feature in FLIGHT_FEATURES}


def _table_columns(columns: Columns, numeric: Sequence[str], categorical: Sequence[str]) -> dict[str, Array]:
    """A table whose columns are the features already."""
    numbers = {name: as_numbers(columns[name]) for name in numeric}
    return numbers | {name: as_categories(columns[name]) for name in categorical}


def _flight_columns(columns: Columns, numeric: Sequence[str], categorical: Sequence[str]) -> dict[str, Array]:
    computed = {
        feature.name: feature.compute(*(columns[column] for column in feature.inputs))
        for feature in flight_features([*numeric, *categorical])
    }
    return _table_columns(computed, numeric, categorical)


#: How the columns of a request become the features of a model, by the name a model carries.
FEATURE_SETS: dict[str, Callable[[Columns, Sequence[str], Sequence[str]], dict[str, Array]]] = {
    "flights": _flight_columns,
    "table": _table_columns,
}


def compute(feature_set: str, columns: Columns, numeric: Sequence[str], categorical: Sequence[str]) -> dict[str, Array]:
    """Compute the named features, numeric ones as float32, categorical ones as text.

    Args:
        feature_set: a key of ``FEATURE_SETS``.
        columns: one array per request column, all of the same length.
        numeric: names of numeric features.
        categorical: names of categorical features.
    """
    return FEATURE_SETS[feature_set](columns, numeric, categorical)
