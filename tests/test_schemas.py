"""Data contracts: what refuses a table, and what sets a row aside."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandera.errors import SchemaError, SchemaErrors

from ml_lifecycle import schemas
from ml_lifecycle.parameters import FeatureOptions, FlightOptions
from ml_lifecycle.pipelines.data_engineering import flights
from ml_lifecycle.quarantine import screen
from ml_lifecycle.request_columns import FLIGHT_REQUEST, RequestColumn

MakeFlights = Callable[..., pd.DataFrame]
CONTRACTS = {
    "flights": schemas.Flights,
    "weather": schemas.Weather,
    "planes": schemas.Planes,
    "airports": schemas.Airports,
    "airlines": schemas.Airlines,
}
A_COLUMN = {"flights": "distance", "weather": "temp", "planes": "seats", "airports": "lat", "airlines": "name"}
KEYS = {"weather": "origin", "planes": "tailnum", "airports": "faa", "airlines": "carrier"}


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_good_table_is_accepted_unchanged(name: str, raw_tables: dict[str, pd.DataFrame]) -> None:
    """A table that fulfils its contract passes as it is."""
    pd.testing.assert_frame_equal(raw_tables[name], CONTRACTS[name].validate(raw_tables[name]))


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_wrong_type_refuses_the_table(name: str, raw_tables: dict[str, pd.DataFrame]) -> None:
    """A column of another type is an error that names the column."""
    table = raw_tables[name].assign(**{A_COLUMN[name]: pd.Timestamp("2013-01-01")})
    with pytest.raises(SchemaError, match=f"expected series '{A_COLUMN[name]}' to have type"):
        CONTRACTS[name].validate(table)


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_missing_column_refuses_the_table(name: str, raw_tables: dict[str, pd.DataFrame]) -> None:
    """A column that is not there is an error that names it."""
    with pytest.raises(SchemaError, match=f"column '{A_COLUMN[name]}' not in dataframe"):
        CONTRACTS[name].validate(raw_tables[name].drop(columns=A_COLUMN[name]))


@pytest.mark.parametrize("name", CONTRACTS)
def test_an_undeclared_column_refuses_the_table(name: str, raw_tables: dict[str, pd.DataFrame]) -> None:
    """A column nobody declared is an error that names it."""
    with pytest.raises(SchemaErrors, match="column 'surprise' not in DataFrameSchema"):
        CONTRACTS[name].validate(raw_tables[name].assign(surprise=1))


@pytest.mark.parametrize("name", KEYS)
def test_a_repeated_key_refuses_the_table(name: str, raw_tables: dict[str, pd.DataFrame]) -> None:
    """Two rows for one key are an error that names the key."""
    table = pd.concat([raw_tables[name], raw_tables[name].head(1)], ignore_index=True)
    with pytest.raises(SchemaError, match=KEYS[name]):
        CONTRACTS[name].validate(table)


def test_a_missing_value_refuses_a_column_that_must_be_complete(raw_tables: dict[str, pd.DataFrame]) -> None:
    """A scheduled column without a value is an error that names the column."""
    table = raw_tables["flights"].copy()
    table.loc[0, "dest"] = None
    with pytest.raises(SchemaError, match="non-nullable series 'dest'"):
        schemas.Flights.validate(table)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"origin": "BOS"}, "origin: isin"),
        ({"distance": 0}, "distance: greater_than"),
        ({"sched_arr_time": 2401}, "a clock time that does not exist"),
        ({"arr_time": 1260.0}, "a clock time that does not exist"),
        ({"dep_time": -1.0}, "a clock time that does not exist"),
        ({"time_hour": "2013-06-15T15:00:00Z"}, "schedule and time_hour disagree"),
        ({"time_hour": "noon"}, "schedule and time_hour disagree"),
        ({"day": 16}, "schedule and time_hour disagree"),
        ({"dep_delay": np.nan, "arr_delay": 5.0}, "a delay without a departure"),
    ],
)
def test_a_broken_rule_sets_the_flight_aside(broken: dict[str, Any], reason: str, make_flights: MakeFlights) -> None:
    """A flight that breaks a rule goes to quarantine with the name of the rule."""
    _, aside = screen("flights", make_flights({}, {"flight": 2} | broken), schemas.FlightRows)
    assert [(1, True)] == [
        (row, text.startswith(reason)) for row, text in zip(aside["row"], aside["reason"], strict=True)
    ]


@pytest.mark.parametrize(
    "fine",
    [
        {"sched_arr_time": 2400},
        {"arr_time": 2400.0},
        {"arr_time": 0.0},
        {"departs": "2013-03-10 03:00"},
        {"departs": "2013-11-03 00:59"},
        {"departs": "2013-11-03 01:30"},
        {"departs": "2013-12-31 23:59"},
        {"dep_delay": np.nan, "arr_delay": np.nan},
        {"arr_delay": np.nan},
        {"tailnum": None},
    ],
    ids=str,
)
def test_an_unusual_flight_is_kept(fine: dict[str, Any], make_flights: MakeFlights) -> None:
    """Midnight, both clock changes, cancelled and diverted flights break no rule."""
    kept, _ = screen("flights", make_flights(fine), schemas.FlightRows)
    assert 1 == len(kept)


def test_both_readings_of_the_repeated_hour_agree_with_the_schedule(make_flights: MakeFlights) -> None:
    """In the hour that November repeats, the schedule agrees with either UTC hour."""
    hours = ["2013-11-03T05:00:00Z", "2013-11-03T06:00:00Z"]
    flights = make_flights(
        *({"departs": "2013-11-03 01:30", "flight": i, "time_hour": hour} for i, hour in enumerate(hours))
    )
    kept, _ = screen("flights", flights, schemas.FlightRows)
    assert 2 == len(kept)


def test_a_missing_value_elsewhere_does_not_excuse_a_broken_rule(make_flights: MakeFlights) -> None:
    """A cancelled flight with an impossible schedule goes to quarantine like any other."""
    cancelled = {"dep_delay": np.nan, "arr_delay": np.nan, "tailnum": None, "sched_arr_time": 2460}
    _, aside = screen("flights", make_flights(cancelled), schemas.FlightRows)
    assert ["a clock time that does not exist"] == aside["reason"].tolist()


def test_the_second_listing_of_a_flight_is_set_aside(make_flights: MakeFlights) -> None:
    """Of a flight listed twice the first listing counts."""
    _, aside = screen("flights", make_flights({}, {"arr_delay": 3.0}), schemas.FlightRows)
    assert [(1, "a flight listed twice")] == list(zip(aside["row"], aside["reason"], strict=True))


def test_the_same_number_from_another_airport_is_another_flight(make_flights: MakeFlights) -> None:
    """A flight number may leave two airports on one day."""
    kept, _ = screen("flights", make_flights({"origin": "EWR"}, {"origin": "JFK"}), schemas.FlightRows)
    assert 2 == len(kept)


@pytest.mark.parametrize(
    ("column", "value"),
    [("temp", 141.0), ("humid", -1.0), ("wind_speed", 1048.36), ("pressure", 0.0), ("visib", 101.0)],
)
def test_impossible_weather_is_set_aside(column: str, value: float, raw_tables: dict[str, pd.DataFrame]) -> None:
    """An observation outside the physical limits goes to quarantine with the name of the column."""
    weather = raw_tables["weather"].copy()
    weather.loc[3, column] = value
    _, aside = screen("weather", weather, schemas.WeatherRows)
    assert [(3, column)] == [
        (row, reason.split(":")[0]) for row, reason in zip(aside["row"], aside["reason"], strict=True)
    ]


def test_missing_weather_is_kept(raw_tables: dict[str, pd.DataFrame]) -> None:
    """An instrument that reported nothing breaks no rule."""
    silent = raw_tables["weather"].assign(temp=np.nan, humid=np.nan, wind_speed=np.nan, pressure=np.nan, visib=np.nan)
    kept, _ = screen("weather", silent, schemas.WeatherRows)
    assert len(silent) == len(kept)


@pytest.mark.parametrize(("column", "value"), [("year", 0.0), ("year", 2015.0), ("seats", 0)])
def test_implausible_planes_are_set_aside(column: str, value: float, raw_tables: dict[str, pd.DataFrame]) -> None:
    """An aircraft from the future, or without seats, goes to quarantine."""
    planes = raw_tables["planes"].copy()
    planes.loc[1, column] = value
    _, aside = screen("planes", planes, schemas.PlaneRows)
    assert [1] == aside["row"].tolist()


@pytest.mark.parametrize(
    ("column", "values"),
    [("age", np.float64), ("job", object)],
    ids=["numbers of double precision", "texts as objects"],
)
def test_model_input_refuses_features_of_another_type(column: str, values: Any, model_input: pd.DataFrame) -> None:
    """Features are float32 or text without gaps."""
    table = model_input.astype({column: values})
    with pytest.raises(SchemaError, match="features are float32 or text without gaps"):
        schemas.ModelInput.validate(table)


def test_model_input_refuses_a_gap_in_a_category(model_input: pd.DataFrame) -> None:
    """A missing category must be the empty text."""
    table = model_input.assign(job=model_input["job"].where(model_input["job"] != "clerk"))
    with pytest.raises(SchemaError, match="features are float32 or text without gaps"):
        schemas.ModelInput.validate(table)


def test_model_input_accepts_features_of_the_right_types(model_input: pd.DataFrame) -> None:
    """Float32 and text pass, missing numbers included."""
    assert len(model_input) == len(schemas.ModelInput.validate(model_input))


@pytest.mark.parametrize(("column", "value"), [("row_split", "test"), ("row_target", 2)])
def test_model_input_refuses_unknown_slices_and_labels(column: str, value: Any, model_input: pd.DataFrame) -> None:
    """There are three slices and two labels."""
    table = model_input.assign(**{column: value}).astype({column: model_input[column].dtype})
    with pytest.raises(SchemaError, match=column):
        schemas.ModelInput.validate(table)


@pytest.fixture(scope="module")
def requests(raw_tables: dict[str, pd.DataFrame], flight_options: FlightOptions) -> pd.DataFrame:
    """Requests with every column, as after the landing."""
    scheduled = flights.schedule_flights(
        raw_tables["flights"], raw_tables["airports"], raw_tables["airlines"], flight_options
    )
    everything = FeatureOptions(prediction_moment="after_landing", columns="all")
    return flights.look_up_state(scheduled, raw_tables["weather"], raw_tables["planes"], flight_options, everything)


class TestFlightRequests:
    """The contract that is made of the declared columns of requests."""

    def test_has_the_declared_columns_in_their_order(self, requests: pd.DataFrame) -> None:
        """The contract, the moments and the table that is made have the declared columns and no other."""
        declared = {column.name: column.known_at for column in FLIGHT_REQUEST}
        assert declared == schemas.FlightRequests.known_at()
        assert list(declared) == list(schemas.FlightRequests.known_at()) == list(requests)
        schemas.FlightRequests.validate(requests)

    def test_types_are_those_of_the_kinds(self) -> None:
        """Text is text, numbers have 64 bits, and a moment has the zone that it is declared with."""
        columns = schemas.FlightRequests.to_schema().columns
        found = {(column.kind, column.time_zone): str(columns[column.name].dtype) for column in FLIGHT_REQUEST}
        assert {
            ("text", None): "string[pyarrow]", ("number", None): "float64", ("whole", None): "int64",
            ("moment", None): "datetime64[ns]", ("moment", "UTC"): "datetime64[us, UTC]",
        } == found  # fmt: skip

    @pytest.mark.parametrize("column", FLIGHT_REQUEST, ids=lambda column: column.name)
    def test_a_column_may_be_left_out_only_if_it_is_not_required(
        self, requests: pd.DataFrame, column: RequestColumn
    ) -> None:
        """All but the schedule is optional."""
        assert_refused(requests.drop(columns=column.name), column.name, refused=column.required)

    @pytest.mark.parametrize("column", [one for one in FLIGHT_REQUEST if one.kind != "whole"], ids=lambda one: one.name)
    def test_a_value_may_be_missing_only_if_the_column_is_nullable(
        self, requests: pd.DataFrame, column: RequestColumn
    ) -> None:
        """The schedule has no gaps; the state of the world may have some."""
        gap = requests[column.name].where(requests.index != 1)
        assert_refused(requests.assign(**{column.name: gap}), column.name, refused=not column.nullable)

    @pytest.mark.parametrize(
        "column", [one for one in FLIGHT_REQUEST if one.minimum is not None], ids=lambda one: one.name
    )
    def test_the_minimum_is_the_smallest_value_allowed(self, requests: pd.DataFrame, column: RequestColumn) -> None:
        """The minimum itself is fine, one less is refused."""
        assert column.minimum is not None
        for less in (0, 1):
            values = requests[column.name].where(requests.index != 1, int(column.minimum) - less)
            assert_refused(requests.assign(**{column.name: values}), column.name, refused=bool(less))

    def test_a_flight_that_asks_twice_is_refused(self, requests: pd.DataFrame) -> None:
        """The key names one departure."""
        twice = pd.concat([requests, requests.head(1)], ignore_index=True)
        assert_refused(twice, "flight_key", refused=True)


def assert_refused(requests: pd.DataFrame, column: str, *, refused: bool) -> None:
    """Assert that requests are refused for one column, or accepted."""
    with pytest.raises(SchemaError, match=column) if refused else nullcontext():
        schemas.FlightRequests.validate(requests)
