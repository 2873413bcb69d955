"""The types of records come from a model's roles: of the flights, and of a table with any names."""

import json
import string
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import candidates
from ml_lifecycle import features
from ml_lifecycle.api import records
from ml_lifecycle.api.problems import Problem
from ml_lifecycle.api.records import LARGEST, WHOLE, Records
from ml_lifecycle.moments import Moment
from ml_lifecycle.request_columns import FLIGHT_REQUEST, RequestColumn
from ml_lifecycle.roles import TableRoles

TABLE = candidates.ROLES


def _flights(names: list[str]) -> TableRoles:
    kinds = {feature.name: feature.kind for feature in features.flight_features(names)}
    by_kind = {kind: [name for name in names if kinds[name] == kind] for kind in ("numeric", "categorical")}
    changes = {"feature_set": "flights", "key": "flight_key", "time": "scheduled_departure", **by_kind}
    return TABLE.model_copy(update=changes)


BEFORE = [name for name, known in features.known_at().items() if known.order <= Moment.BEFORE_DEPARTURE.order]
FLIGHTS = Records(_flights(BEFORE), 100)
RECORD = FLIGHTS.example(
    {column.name: 1.0 for column in FLIGHTS.needed if column.kind != "text"}
    | dict.fromkeys(("carrier", "origin", "dest"), "AA")
    | {"scheduled_local": "2013-12-20T17:05:00"}
)


def _decode(records: Records, content: Any) -> Any:
    return records.decode(json.dumps(content).encode())


def _refused(records: Records, content: Any) -> dict[str, str]:
    with pytest.raises(Problem) as raised:
        _decode(records, content)
    return raised.value.errors[0]


def test_a_flight_is_asked_with_the_columns_that_the_features_need() -> None:
    asked = {column.name for column in FLIGHTS.needed}
    assert {"scheduled_local", "carrier", "aircraft_year", "temperature"} <= asked
    assert not asked & {"hour", "route", "departure_delay", "air_minutes", "flight_key"}


def test_what_is_known_only_later_is_refused_by_name() -> None:
    assert _decode(FLIGHTS, RECORD)
    for late in ("departure_delay", "air_minutes"):
        assert _refused(FLIGHTS, {**RECORD, late: 3.0})["path"] == f"$.{late}"


def test_a_model_that_needs_less_takes_the_whole_request_as_well() -> None:
    few = Records(_flights(["hour", "carrier"]), 100)
    schedule = {"scheduled_local": "2013-12-20T17:05:00", "carrier": "UA"}
    records, _ = _decode(
        few, {**schedule, "flight_key": "k", "distance": 100, "scheduled_departure": "2013-12-20T22:05:00Z"}
    )
    assert few.keys(records) == ["k"]
    assert set(few.columns(records)) == {"scheduled_local", "carrier"}
    assert _refused(few, {**schedule, "temperature": 50.0})["path"] == "$.temperature"  # known before departure only


def test_a_time_of_the_wall_clock_has_no_zone_and_others_have_one() -> None:
    assert _decode(FLIGHTS, RECORD)
    assert _refused(FLIGHTS, {**RECORD, "scheduled_local": "2013-12-20T17:05:00Z"})["path"] == "$.scheduled_local"
    refused = _refused(FLIGHTS, {**RECORD, "scheduled_departure": "2013-12-20T17:05:00"})
    assert refused["path"] == "$.scheduled_departure"
    assert _refused(FLIGHTS, {**RECORD, "scheduled_local": "today"})["path"] == "$.scheduled_local"


@pytest.mark.parametrize("names", [["a"], ["a b", "ü.x", "class", "", "f0", "__init__"], list(string.ascii_letters)])
def test_columns_may_have_any_name(names: list[str]) -> None:
    records = Records(TABLE.model_copy(update={"numeric": names, "categorical": []}), 10)
    content = {name: number / 2 for number, name in enumerate(names)}
    found, single = _decode(records, content)
    assert single
    assert {name: values.tolist() for name, values in records.columns(found).items()} == {
        name: [value] for name, value in content.items()
    }


def test_a_key_that_is_a_feature_as_well_has_the_features_type() -> None:
    records = Records(TABLE.model_copy(update={"key": "carrier"}), 10)
    found, _ = _decode(records, {"share": 0.5, "carrier": "UA"})
    assert records.keys(found) == ["UA"]


def test_a_model_without_numbers_is_asked_with_texts_alone() -> None:
    records = Records(TABLE.model_copy(update={"numeric": [], "categorical": ["carrier", "city"]}), 10)
    found, _ = _decode(records, [{"carrier": "UA", "city": None}, {"carrier": None, "city": "Rome"}])
    columns = records.columns(found)
    assert columns["carrier"].tolist() == ["UA", None]
    assert features.compute("table", columns, [], ["carrier", "city"])["city"].tolist() == ["", "Rome"]


_NUMBERS = st.none() | st.floats(-LARGEST, LARGEST, allow_nan=False) | st.integers(-WHOLE, WHOLE)
_TEXTS = st.none() | st.text(max_size=200).filter(lambda text: not any(0xD800 <= ord(sign) < 0xE000 for sign in text))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.fixed_dictionaries({"share": _NUMBERS, "carrier": _TEXTS}), min_size=1, max_size=20))
def test_records_become_the_same_features_as_a_table(rows: list[dict[str, Any]]) -> None:
    records = Records(TABLE, 20)
    found, _ = _decode(records, rows)
    online = features.compute("table", records.columns(found), ["share"], ["carrier"])
    table = pd.DataFrame({"share": pd.array([row["share"] for row in rows], dtype="object")})
    shares = table["share"].astype(float).to_numpy()
    carriers = np.array([row["carrier"] for row in rows], dtype=object)
    batch = features.compute("table", {"share": shares, "carrier": carriers}, ["share"], ["carrier"])
    assert online["share"].tobytes() == batch["share"].tobytes()
    assert online["carrier"].tolist() == batch["carrier"].tolist()


def test_a_flights_schema_describes_units_bounds_and_what_may_be_missing() -> None:
    schema, definitions = FLIGHTS.schema()
    assert schema == {"$ref": "#/components/schemas/Record"}
    described = definitions["Record"]
    assert described["additionalProperties"] is False
    assert set(described["required"]) == {column.name for column in FLIGHTS.needed}
    assert described["properties"]["distance"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": WHOLE,
        "description": "miles",
    }
    temperature = described["properties"]["temperature"]
    assert {"type": "null"} in temperature["anyOf"]
    assert temperature["anyOf"][0]["description"] == "°F"


def test_every_declared_column_can_be_decoded() -> None:
    everything = list(features.known_at())
    records = Records(_flights(everything), 10)
    assert {column.name for column in records.needed} | {"flight_key", "scheduled_departure"} == {
        column.name for column in FLIGHT_REQUEST
    }
    assert issubclass(records.type, msgspec.Struct)


def test_a_place_deep_in_a_large_body_is_found_without_writing_all_others() -> None:
    """With the path of each element it would take gigabytes."""
    body = b'{"' + b"a" * 100_000 + b'": [' + b"0," * 100_000 + b"NaN]}"
    tracemalloc.start()
    try:
        found = records._not_finite(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found is not None
    assert found[0].endswith("[100000]")
    assert peak < 50 * len(body)


@given(st.lists(st.datetimes() | st.none(), min_size=1))
def test_moments_of_a_wall_clock_are_what_numpy_makes_of_them(values: list[datetime | None]) -> None:
    column = RequestColumn("at", "moment", Moment.SCHEDULE, "", nullable=True)
    np.testing.assert_array_equal(records.as_moments(column, values), np.array(values, "datetime64[us]"))


def test_moments_with_a_zone_are_in_utc() -> None:
    column = RequestColumn("at", "moment", Moment.SCHEDULE, "", time_zone="UTC")
    east = datetime(2013, 12, 20, 23, 5, tzinfo=timezone(timedelta(hours=1)))
    expected = np.array(["2013-12-20T22:05", "2013-12-20T22:05"], "datetime64[us]")
    np.testing.assert_array_equal(records.as_moments(column, [east, east.astimezone(UTC)]), expected)
