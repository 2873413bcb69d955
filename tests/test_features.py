"""Features: the same values for a table and for a single record."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_lifecycle import features
from ml_lifecycle.errors import ConfigurationError
from ml_lifecycle.moments import Moment
from ml_lifecycle.parameters import FeatureOptions, FlightOptions
from ml_lifecycle.pipelines.data_engineering import flights
from ml_lifecycle.request_columns import FLIGHT_REQUEST, RequestColumn

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


@pytest.mark.parametrize(
    "values",
    [
        np.array(["EWR", "", "日本"], dtype=object),
        np.array(["EWR", None, np.nan, pd.NaT, 1, 2.5, True, np.float64(2), b"EWR", "a\0"], dtype=object),
        np.array([1.0, 2.5, np.nan, -0.0, np.inf]),
        np.array([1, 2]),
        np.array(["EWR", "JFK"]),
        np.array(["2013-06-15", "NaT"], dtype="datetime64[D]"),
        np.array(["EWR", "x", "JFK"], dtype=object)[::2],
    ],
    ids=["text", "anything", "floats", "whole", "fixed width", "days", "every other"],
)
def test_a_category_does_not_depend_on_its_neighbours(values: features.Array) -> None:
    """Each cell becomes the same text alone and among others, and every text is of the type str."""
    together = features.as_categories(values).tolist()
    assert together == [features.as_categories(values[[row]])[0] for row in range(len(values))]
    assert {str} == {type(text) for text in together}


def test_text_stays_as_it_is() -> None:
    """Texts are passed on without being copied, also when there are none."""
    for values in (np.array(["EWR", ""], dtype=object), np.array([], dtype=object)):
        assert features.as_categories(values) is values


def test_whole_categories_lose_their_decimal_point() -> None:
    """A number that is whole is written without a point, whether a gap made floats of the column or not."""
    assert ["1", "", "2.5"] == features.as_categories(np.array([1.0, np.nan, 2.5])).tolist()
    assert ["1", "2"] == features.as_categories(np.array([1, 2])).tolist()


@pytest.mark.parametrize("missing", [None, np.nan])
def test_missing_numbers_are_nan(missing: Any) -> None:
    """None and NaN become NaN, also in a column of objects."""
    numbers = features.as_numbers([np.array([1.5, missing], dtype=object), np.array([1, 2])])
    np.testing.assert_array_equal(np.array([[1.5, np.nan], [1, 2]], dtype=np.float32), numbers)


@pytest.mark.parametrize(
    "values",
    [
        np.array([2**53 + 1, -3]), np.array([0.1, np.nan]), np.array([True, False]), np.arange(4.0)[::2],
        np.array([1.5, None], dtype=object), np.array([2**64 - 1, 1], dtype=np.uint64),
        np.array([0.1, 2], dtype=np.float32),
        np.array([0x7FF8DEAD00000000, 0xFFF8000000000001], dtype=np.uint64).view(np.float64),
    ],
)  # fmt: skip
def test_numbers_are_rounded_once_whatever_they_were(values: features.Array) -> None:
    """Beside columns of other types, a column becomes the float32 that it becomes alone, to the last bit."""
    numbers = features.as_numbers([values, np.array([1, 2]), np.array([0.1, 0.2])])
    assert values.astype(np.float32).tobytes() == numbers[0].tobytes()


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
    assert set() == inputs - {column.name for column in FLIGHT_REQUEST}


def test_feature_names_are_unique() -> None:
    """No two features share a name."""
    names = [feature.name for feature in features.FLIGHT_FEATURES]
    assert sorted(set(names)) == sorted(names)


class TestRequestColumns:
    """What a request needs so that features can be computed."""

    def test_are_those_that_the_features_are_computed_of(self) -> None:
        """Columns come as they are declared, each once, whatever the order of the features."""
        columns = features.request_columns("flights", ["scheduled_speed", "hour", "distance"], ["route"])
        expected = ["scheduled_local", "scheduled_minutes", "origin", "dest", "distance"]
        assert expected == [column.name for column in columns]
        assert set(columns) < set(FLIGHT_REQUEST)

    def test_suffice_and_none_is_too_many(self, columns: dict[str, Any]) -> None:
        """All features can be computed from these columns, and not if one of them is missing."""
        needed = [column.name for column in features.request_columns("flights", NUMERIC, CATEGORICAL)]
        given = {name: columns[name] for name in needed}
        features.compute("flights", given, NUMERIC, CATEGORICAL)
        for name in needed:
            with pytest.raises(KeyError, match=f"^'{name}'$"):
                features.compute(
                    "flights", {other: given[other] for other in needed if other != name}, NUMERIC, CATEGORICAL
                )

    def test_others_may_be_sent_if_they_are_known_as_early(self) -> None:
        """A request may carry its key and what nobody needs, but nothing that is known only later."""
        early = [column for column in FLIGHT_REQUEST if column.known_at is Moment.SCHEDULE]
        needed = features.request_columns("flights", ["hour"], ["route"])
        assert early == sorted([*needed, *features.also_known("flights", needed)], key=FLIGHT_REQUEST.index)
        everything = features.request_columns("flights", ["air_minutes"], [])
        assert len(FLIGHT_REQUEST) - 1 == len(features.also_known("flights", everything))

    def test_a_table_has_no_others(self) -> None:
        """Nothing is declared of it but its features."""
        assert [] == features.also_known("table", features.request_columns("table", ["age"], ["job"]))

    def test_of_a_table_are_its_features(self) -> None:
        """Numbers and texts, known from the start, and any of them may be missing."""
        assert [
            RequestColumn("age", "number", Moment.SCHEDULE, about="", nullable=True),
            RequestColumn("job", "text", Moment.SCHEDULE, about="", nullable=True),
        ] == features.request_columns("table", ["age"], ["job"])


@pytest.mark.parametrize("ask", [features.request_columns, lambda name, *of: features.compute(name, {}, *of)])
def test_an_unknown_feature_set_is_named(ask: Callable[..., Any]) -> None:
    """A model of a feature set that does not exist is refused with the ones that do."""
    with pytest.raises(ConfigurationError, match=r"No such feature set: 'ships'\. Allowed: flights, table\."):
        ask("ships", ["hour"], [])


@pytest.mark.parametrize("ask", [features.request_columns, lambda name, *of: features.compute(name, {}, *of)])
def test_an_unknown_feature_is_named(ask: Callable[..., Any]) -> None:
    """A model of a feature that does not exist any more is refused; it is not a column that is missing."""
    with pytest.raises(ConfigurationError, match=r"No such feature: moon, tide\. Allowed: air_minutes, aircraft_age,"):
        ask("flights", ["moon", "hour"], ["tide"])
