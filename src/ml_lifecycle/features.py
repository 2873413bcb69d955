"""The one definition of every feature, for a table of 300,000 rows and for a single record.

Arrays of columns come in, arrays of features come out; there is no loop over rows. Lookups
that need history (weather, recent delays, an aircraft's last delay) are columns that come in.
Numbers leave as float32, which is what the trees split on and what ONNX computes with, so a
model sees the same values in training, in batch scoring and online.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import holidays
import numpy as np
import numpy.typing as npt

from ml_lifecycle.errors import ConfigurationError
from ml_lifecycle.moments import Moment, latest
from ml_lifecycle.request_columns import FLIGHT_REQUEST, RequestColumn

Array = npt.NDArray[Any]
Columns = Mapping[str, Array]

MINUTES_PER_DAY = 24 * 60
HOLIDAY_HORIZON_DAYS = 7
_FIRST_YEAR, _LAST_YEAR = 1990, 2060
_FLIGHT_COLUMNS = {column.name: column for column in FLIGHT_REQUEST}


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
        return latest(_FLIGHT_COLUMNS[column].known_at for column in self.inputs)


def as_numbers(columns: Sequence[Array]) -> npt.NDArray[np.float32]:
    """Convert columns to the rows of a float32 matrix, all at once; missing values become NaN."""
    return np.array(columns, dtype=np.float32)


def as_categories(values: Array) -> npt.NDArray[np.object_]:
    """Convert to text; missing values (None, NaN) become the empty text. Text is passed on, not copied.

    Whole numbers lose their decimal point: a column of 1 and 2 with a gap is read as floats.
    """
    cells = values.astype(object, copy=False)
    if values.dtype.kind == "f":
        whole = np.isfinite(values) & (np.floor(values) == values)
        cells[whole] = values[whole].astype(np.int64)
    elif set(map(type, cells.tolist())) <= {str}:
        return cells
    with np.errstate(invalid="ignore"):  # Python may compare NaN in a way that the processor reports
        texts: npt.NDArray[np.object_] = _texts(cells)
    return texts


def _text(cell: Any) -> str:
    if cell is None or cell != cell:  # noqa: PLR0124 - NaN does not equal itself
        return ""
    return cell.decode("ascii") if isinstance(cell, bytes) else str(cell)


_texts = np.frompyfunc(_text, 1, 1)


def _minutes(local: Array) -> npt.NDArray[np.int64]:
    return local.astype("datetime64[m]").view(np.int64)


def _days(local: Array) -> npt.NDArray[np.int64]:
    return local.astype("datetime64[D]").view(np.int64)


def _minute_of_day(local: Array) -> Array:
    return _minutes(local) % MINUTES_PER_DAY


def _hour(local: Array) -> Array:
    return _minute_of_day(local) // 60


def _day_of_week(local: Array) -> npt.NDArray[np.int64]:
    return (_days(local) + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0


@lru_cache(maxsize=1)
def _holiday_distances() -> tuple[int, npt.NDArray[np.int64]]:
    """The first day of a calendar, and of each of its days the distance to the nearest federal holiday."""
    observed = holidays.country_holidays("US", years=range(_FIRST_YEAR, _LAST_YEAR))
    dates = np.sort(np.array(list(observed), dtype="datetime64[D]").astype(np.int64))
    days = np.arange(dates[0] - HOLIDAY_HORIZON_DAYS, dates[-1] + HOLIDAY_HORIZON_DAYS + 1)
    following = np.clip(np.searchsorted(dates, days), 1, len(dates) - 1)
    nearest = np.minimum(np.abs(dates[following] - days), np.abs(days - dates[following - 1]))
    return int(days[0]), np.minimum(nearest, HOLIDAY_HORIZON_DAYS)


def _days_to_holiday(local: Array) -> Array:
    """Days to the nearest federal holiday, past or coming, at most a week."""
    first_day, distances = _holiday_distances()
    return distances.take(_days(local) - first_day, mode="clip")  # a week at both ends, and beyond


def _route(origin: Array, dest: Array) -> Array:
    return origin + "-" + dest


def _aircraft_age(local: Array, built: Array) -> Array:
    return local.astype("datetime64[Y]").view(np.int64) + 1970 - built


def _as_it_is(values: Array) -> Array:
    return values


def _same(column: str) -> Feature:
    return Feature(column, (column,), _as_it_is)


def _category(column: str) -> Feature:
    return Feature(column, (column,), _as_it_is, "categorical")


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


def flight_features(names: Iterable[str]) -> list[Feature]:
    """Look features up by name, in the order asked for.

    Raises:
        ConfigurationError: there is no such feature.
    """
    by_name = {feature.name: feature for feature in FLIGHT_FEATURES}
    names = list(names)
    if unknown := [name for name in names if name not in by_name]:
        raise ConfigurationError(f"No such feature: {', '.join(unknown)}. Allowed: {', '.join(sorted(by_name))}.")
    return [by_name[name] for name in names]


def known_at() -> dict[str, Moment]:
    """Map each feature to the moment when it is known."""
    return {feature.name: feature.known_at for feature in FLIGHT_FEATURES}


def _flight_columns(numeric: Sequence[str], categorical: Sequence[str]) -> list[RequestColumn]:
    taken = {column for feature in flight_features([*numeric, *categorical]) for column in feature.inputs}
    return [column for column in FLIGHT_REQUEST if column.name in taken]


def _table_features(names: Iterable[str]) -> list[Feature]:
    return [_same(name) for name in names]


def _table_columns(numeric: Sequence[str], categorical: Sequence[str]) -> list[RequestColumn]:
    """A table of one's own has no moments: all of it is known from the start, and any of it may be missing."""
    column = partial(RequestColumn, known_at=Moment.SCHEDULE, about="", nullable=True)
    return [column(name, "number") for name in numeric] + [column(name, "text") for name in categorical]


class FeatureSet(NamedTuple):
    """Features by name, the request columns that numeric and categorical ones take, and all that a request may have."""

    features: Callable[[Iterable[str]], list[Feature]]
    columns: Callable[[Sequence[str], Sequence[str]], list[RequestColumn]]
    declared: tuple[RequestColumn, ...] = ()


#: How the columns of a request become the features of a model, by the name a model carries. In a
#: ``table`` the columns are the features already.
FEATURE_SETS = {
    "flights": FeatureSet(flight_features, _flight_columns, FLIGHT_REQUEST),
    "table": FeatureSet(_table_features, _table_columns),
}


def _feature_set(name: str) -> FeatureSet:
    if name not in FEATURE_SETS:
        raise ConfigurationError(
            f"No such feature set: {name!r}. Allowed: {', '.join(FEATURE_SETS)}. A model names the one that it was "
            "trained with: use the release of this project that trained it, or train it again."
        )
    return FEATURE_SETS[name]


def request_columns(feature_set: str, numeric: Sequence[str], categorical: Sequence[str]) -> list[RequestColumn]:
    """Tell which columns a request needs so that the named features can be computed.

    Args:
        feature_set: a key of ``FEATURE_SETS``.
        numeric: names of numeric features.
        categorical: names of categorical features.

    Raises:
        ConfigurationError: there is no such feature set, or no such feature in it.
    """
    return _feature_set(feature_set).columns(numeric, categorical)


def also_known(feature_set: str, needed: Sequence[RequestColumn]) -> list[RequestColumn]:
    """Tell which other columns a request may carry: those known no later than the latest that it needs.

    Args:
        feature_set: a key of ``FEATURE_SETS``.
        needed: as `request_columns` tells.

    Raises:
        ConfigurationError: there is no such feature set.
    """
    names, moment = {column.name for column in needed}, latest(column.known_at for column in needed)
    declared = _feature_set(feature_set).declared
    return [column for column in declared if column.name not in names and column.known_at.order <= moment.order]


@lru_cache(maxsize=64)
def _computed(feature_set: str, names: tuple[str, ...]) -> list[Feature]:
    """Look up once, for all requests, which of the features are not a column as it is."""
    return [feature for feature in _feature_set(feature_set).features(names) if feature.compute is not _as_it_is]


def compute(feature_set: str, columns: Columns, numeric: Sequence[str], categorical: Sequence[str]) -> dict[str, Array]:
    """Compute the named features, numeric ones as float32, categorical ones as text.

    Args:
        feature_set: a key of ``FEATURE_SETS``.
        columns: one array per request column, all of the same length.
        numeric: names of numeric features.
        categorical: names of categorical features.

    Raises:
        ConfigurationError: there is no such feature set, or no such feature in it.
        KeyError: a column is missing.
    """
    computed = {
        feature.name: feature.compute(*[columns[name] for name in feature.inputs])
        for feature in _computed(feature_set, (*numeric, *categorical))
    }
    values = {**columns, **computed}
    numbers = as_numbers([values[name] for name in numeric])
    texts = [as_categories(values[name]) for name in categorical]
    return dict(zip([*numeric, *categorical], [*numbers, *texts], strict=True))
