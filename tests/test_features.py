"""Features: the same values for a table and for a single record."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_lifecycle import features, schemas
from ml_lifecycle.parameters import FeatureOptions, FlightOptions
from ml_lifecycle.pipelines.data_engineering import flights

ALL = FeatureOptions(prediction_moment="after_landing", columns="all")
NUMERIC = [feature.name for feature in features.FLIGHT_FEATURES if feature.kind == "numeric"]
CATEGORICAL = [feature.name for feature in features.FLIGHT_FEATURES if feature.kind == "categorical"]


def local(*times: str) -> np.ndarray[Any, Any]:
    """Wall clock times."""
    return np.array(times, dtype="datetime64[us]")


def one(feature: str, **columns: Any) -> list[Any]:
    """Compute one numeric feature of flights."""
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    return features.compute("flights", arrays, [feature], [])[feature].tolist()


@pytest.fixture(scope="module")
def columns(raw_tables: dict[str, pd.DataFrame], flight_options: FlightOptions) -> dict[str, Any]:
    """All request columns of three busy days, as arrays."""
    raw = raw_tables
    scheduled = flights.schedule_flights(raw["flights"], raw["airports"], raw["airlines"], flight_options)
    requests = flights.look_up_state(scheduled, raw["weather"], raw["planes"], flight_options, ALL)
    return {name: requests[name].to_numpy() for name in requests.columns}


def test_a_single_record_has_the_features_of_its_row(columns: dict[str, Any]) -> None:
    """Every feature of every row equals, to the last bit, the feature of that row alone."""
    table = features.compute("flights", columns, NUMERIC, CATEGORICAL)
    alone = [
        features.compute("flights", {name: values[[row]] for name, values in columns.items()}, NUMERIC, CATEGORICAL)
        for row in range(len(columns["origin"]))
    ]
    for name, values in table.items():
        np.testing.assert_array_equal(values, np.concatenate([record[name] for record in alone]), err_msg=name)


def test_inputs_are_not_changed(columns: dict[str, Any], freeze: Callable[[Any], Any]) -> None:
    """Computing features leaves the columns as they were."""
    before = freeze(columns)
    features.compute("flights", columns, NUMERIC, CATEGORICAL)
    assert before == freeze(columns)


@pytest.mark.parametrize("feature_set", ["flights", "table"])
def test_numbers_leave_as_float32_and_categories_as_text(feature_set: str) -> None:
    """Both feature sets give float32 arrays and arrays of text objects."""
    columns = {"distance": np.array([719]), "origin": np.array(["EWR"], dtype="str")}
    computed = features.compute(feature_set, columns, ["distance"], ["origin"])
    assert {"distance": "float32", "origin": "object"} == {name: str(array.dtype) for name, array in computed.items()}


def test_features_come_in_the_order_asked_for(columns: dict[str, Any]) -> None:
    """Numeric features come first, in their given order, then the categorical ones."""
    computed = features.compute("flights", columns, ["temperature", "hour"], ["route", "carrier"])
    assert ["temperature", "hour", "route", "carrier"] == list(computed)


@pytest.mark.parametrize("missing", [None, np.nan])
def test_missing_categories_are_the_empty_text(missing: Any) -> None:
    """None and NaN become an empty text, everything else its text."""
    values = np.array(["a", missing, 1, True], dtype=object)
    assert ["a", "", "1", "True"] == features.as_categories(values).tolist()


@pytest.mark.parametrize("missing", [None, np.nan])
def test_missing_numbers_are_nan(missing: Any) -> None:
    """None and NaN become NaN, also in a column of objects."""
    np.testing.assert_array_equal([1.5, np.nan], features.as_numbers(np.array([1.5, missing], dtype=object)))


@pytest.mark.parametrize(
    ("feature", "time", "expected"),
    [
        ("hour", "2013-06-15T00:00", 0),
        ("hour", "2013-06-15T23:59", 23),
        ("minute_of_day", "2013-06-15T23:59", 1439),
        ("minute_of_day", "2013-11-03T01:30", 90),
        ("day_of_week", "2013-06-17T00:00", 0),
        ("day_of_week", "2013-06-16T23:59", 6),
        ("day_of_week", "1969-12-31T12:00", 2),
    ],
)
def test_times_of_the_wall_clock(feature: str, time: str, expected: int) -> None:
    """Hours count from midnight and weekdays from Monday."""
    assert [expected] == one(feature, scheduled_local=local(time))


@pytest.mark.parametrize(
    ("time", "days"),
    [
        ("2013-07-04T12:00", 0),
        ("2013-07-03T23:59", 1),
        ("2013-07-06T00:00", 2),
        ("2013-11-27T08:00", 1),
        ("2013-08-10T08:00", 7),
    ],
    ids=["Independence Day", "the eve", "two days after", "before Thanksgiving", "far from any"],
)
def test_days_to_the_nearest_holiday(time: str, days: int) -> None:
    """The distance counts in both directions and stops at a week."""
    assert [days] == one("days_to_holiday", scheduled_local=local(time))


@pytest.mark.parametrize("time", ["1970-01-01T00:00", "2099-01-01T00:00"])
def test_days_outside_the_holiday_calendar_are_far_from_any(time: str) -> None:
    """Beyond the first and the last known holiday the distance is a week."""
    assert [7] == one("days_to_holiday", scheduled_local=local(time))


def test_the_aircraft_age_counts_calendar_years() -> None:
    """The age is the year of the flight less the year of construction, missing if that is."""
    age = one("aircraft_age", scheduled_local=local("2013-01-01", "2013-12-31"), aircraft_year=[2003.0, np.nan])
    np.testing.assert_array_equal([10, np.nan], age)


def test_the_route_joins_origin_and_destination() -> None:
    """A route is one category."""
    columns = {"origin": np.array(["EWR"], dtype=object), "dest": np.array(["ORD"], dtype=object)}
    assert ["EWR-ORD"] == features.compute("flights", columns, [], ["route"])["route"].tolist()


def test_scheduled_speed_is_miles_a_minute() -> None:
    """Distance over scheduled time."""
    assert [7.5] == one("scheduled_speed", distance=[750], scheduled_minutes=[100])


def test_dew_point_spread_is_the_difference_to_the_temperature() -> None:
    """Temperature less dew point, missing if either is."""
    spread = one("dew_point_spread", temperature=[70.0, np.nan], dew_point=[60.0, 50.0])
    np.testing.assert_array_equal([10, np.nan], spread)


def test_every_input_of_a_feature_is_a_request_column() -> None:
    """No feature reads what a request does not carry."""
    inputs = {name for feature in features.FLIGHT_FEATURES for name in feature.inputs}
    assert set() == inputs - set(schemas.FlightRequests.known_at())


def test_feature_names_are_unique() -> None:
    """No two features share a name."""
    names = [feature.name for feature in features.FLIGHT_FEATURES]
    assert sorted(set(names)) == sorted(names)
