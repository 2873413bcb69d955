"""The example's nodes: screening, schedule, requests, labels and roles."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_lifecycle import schemas
from ml_lifecycle.errors import DataContractError
from ml_lifecycle.parameters import FeatureOptions, FlightOptions
from ml_lifecycle.pipelines.data_engineering import flights

MakeFlights = Callable[..., pd.DataFrame]
Raw = dict[str, pd.DataFrame]
Schedule = Callable[..., pd.DataFrame]


@pytest.fixture
def schedule(make_flights: MakeFlights, raw_tables: Raw, flight_options: FlightOptions) -> Schedule:
    """Schedule flights that differ from an ordinary one as said."""

    def scheduled(*rows: dict[str, Any]) -> pd.DataFrame:
        return flights.schedule_flights(
            make_flights(*rows), raw_tables["airports"], raw_tables["airlines"], flight_options
        )

    return scheduled


def test_screening_keeps_or_sets_aside_every_row(raw_tables: Raw) -> None:
    """For each of the three tables kept and quarantined rows add up, under the table's name."""
    broken = {
        "flights": raw_tables["flights"].assign(distance=lambda table: table["distance"].where(table.index > 1, 0)),
        "weather": raw_tables["weather"].assign(humid=lambda table: table["humid"].where(table.index > 2, 101.0)),
        "planes": raw_tables["planes"].assign(seats=[0, 1, 2]),
    }
    screened = flights.screen_raw_tables(**broken)
    aside = screened["quarantine"]["table"].value_counts().to_dict()
    assert {"flights": 2, "weather": 3, "planes": 1} == aside
    assert {name: len(table) - aside[name] for name, table in broken.items()} == {
        name: len(screened[name]) for name in broken
    }


def test_the_schedule_fulfils_its_contract(raw_tables: Raw, flight_options: FlightOptions) -> None:
    """Three busy days make a schedule of the declared columns and types, one row per flight."""
    scheduled = flights.schedule_flights(
        raw_tables["flights"], raw_tables["airports"], raw_tables["airlines"], flight_options
    )
    assert len(raw_tables["flights"]) == len(schemas.ScheduledFlights.validate(scheduled))


@pytest.mark.parametrize("moment", ["schedule", "before_departure", "at_departure", "after_landing"])
def test_requests_fulfil_their_contract_and_know_nothing_later(
    moment: str, raw_tables: Raw, flight_options: FlightOptions
) -> None:
    """Requests hold exactly the columns known by the prediction moment, in the declared types."""
    raw, options = raw_tables, FeatureOptions(prediction_moment=moment, columns="all")
    scheduled = flights.schedule_flights(raw["flights"], raw["airports"], raw["airlines"], flight_options)
    requests = flights.look_up_state(scheduled, raw["weather"], raw["planes"], flight_options, options)
    known = schemas.FlightRequests.known_at()
    assert [name for name in known if known[name].order <= options.prediction_moment.order] == list(requests)


def test_requests_pass_the_catalog(
    raw_tables: Raw, flight_options: FlightOptions, before_departure: FeatureOptions
) -> None:
    """Requests made before departure pass the contract of their dataset."""
    raw = raw_tables
    scheduled = flights.schedule_flights(raw["flights"], raw["airports"], raw["airlines"], flight_options)
    requests = flights.look_up_state(scheduled, raw["weather"], raw["planes"], flight_options, before_departure)
    assert len(raw["flights"]) == len(schemas.FlightRequests.validate(requests))


def test_a_key_names_day_carrier_number_and_origin(schedule: Schedule) -> None:
    """Keys can be read."""
    assert ["2013-06-15 B67 LGA"] == schedule({"carrier": "B6", "flight": 7, "origin": "LGA"})["flight_key"].tolist()


def test_outcomes_are_moments_in_utc(schedule: Schedule) -> None:
    """Departure and arrival are the schedule plus the delay."""
    row = schedule({"minutes": 120, "dep_delay": 30, "arr_delay": -5, "air_time": 80.0}).loc[0]
    assert (pd.Timestamp("2013-06-15 14:30", tz="UTC"), pd.Timestamp("2013-06-15 15:55", tz="UTC")) == (
        row["departed_at"],
        row["arrived_at"],
    )


def test_a_flight_across_midnight_departs_on_the_day_it_leaves(schedule: Schedule) -> None:
    """A delay past midnight moves the departure to the next day, not the key."""
    row = schedule({"departs": "2013-06-15 23:50", "dep_delay": 20}).loc[0]
    assert ("2013-06-15 UA1 EWR", pd.Timestamp("2013-06-16 04:10", tz="UTC")) == (row["flight_key"], row["departed_at"])


def test_what_did_not_happen_is_missing(schedule: Schedule) -> None:
    """A cancelled flight has neither departure nor arrival."""
    row = schedule({"dep_delay": np.nan, "arr_delay": np.nan}).loc[0]
    assert row[["departed_at", "departure_delay", "arrived_at", "air_minutes", "arrival_delay"]].isna().all()


def test_the_local_schedule_is_the_clock_in_new_york(schedule: Schedule) -> None:
    """Features see the clock that passengers see, in winter and in summer."""
    local = schedule({"departs": "2013-03-09 08:15"}, {"departs": "2013-03-11 08:15"})["scheduled_local"]
    assert [pd.Timestamp("2013-03-09 08:15"), pd.Timestamp("2013-03-11 08:15")] == local.tolist()


def test_unknown_carriers_are_refused_by_name(schedule: Schedule) -> None:
    """The error names each carrier without a row among the airlines, with the number of its flights."""
    with pytest.raises(DataContractError, match=r"Carriers without a row in the airlines table: ZZ \(2 flights\)"):
        schedule({"carrier": "ZZ"}, {"carrier": "ZZ", "flight": 2}, {})


def test_destinations_without_a_time_zone_are_refused_by_name(schedule: Schedule) -> None:
    """The error of the schedule reaches the caller of the node."""
    with pytest.raises(DataContractError, match="No time zone for the destinations HNL"):
        schedule({"dest": "HNL"})


@pytest.mark.parametrize(("delay", "late"), [(-20, 0), (14, 0), (15, 1), (16, 1)])
def test_late_begins_at_the_threshold(
    delay: float, late: int, schedule: Schedule, flight_options: FlightOptions
) -> None:
    """An arrival delay of exactly the threshold is late."""
    assert [late] == flights.label_flights(schedule({"arr_delay": delay}), flight_options)["labels"]["target"].tolist()


def test_flights_without_an_arrival_delay_go_to_quarantine(schedule: Schedule, flight_options: FlightOptions) -> None:
    """Cancelled and diverted flights are set aside with their reasons, the others are labelled."""
    cancelled = {"dep_delay": np.nan, "arr_delay": np.nan, "flight": 2}
    labelled = flights.label_flights(schedule({}, cancelled, {"arr_delay": np.nan, "flight": 3}), flight_options)
    aside = labelled["quarantine"]
    assert [(1, flights.CANCELLED), (2, flights.DIVERTED)] == list(zip(aside["row"], aside["reason"], strict=True))
    assert ["2013-06-15 UA1 EWR"] == labelled["labels"]["flight_key"].tolist()


def test_roles_list_the_features_by_kind(before_departure: FeatureOptions) -> None:
    """Numeric and categorical features together are all features asked for."""
    roles = flights.describe_roles(before_departure)
    assert ["carrier", "dest", "origin", "route"] == sorted(roles["categorical"])
    assert sorted(before_departure.names()) == sorted(roles["numeric"] + roles["categorical"])


def test_the_baseline_knows_only_the_schedule(before_departure: FeatureOptions) -> None:
    """No state of the world is among the baseline's columns."""
    schedule_only = FeatureOptions(prediction_moment="schedule", columns="all")
    assert schedule_only.names() == flights.describe_roles(before_departure)["baselines"]["schedule_only"]


def test_without_scheduled_features_there_is_no_schedule_baseline() -> None:
    """A model that looks at the weather alone has no baseline without columns."""
    options = FeatureOptions(prediction_moment="before_departure", columns=["temperature", "humidity"])
    assert {} == flights.describe_roles(options)["baselines"]


def test_requests_to_score_begin_with_the_judge_slice() -> None:
    """Every flight scheduled from the first judged one on is scored, labelled or not."""
    days = pd.to_datetime(["2013-06-01", "2013-06-02", "2013-06-03", "2013-06-04"])
    requests = pd.DataFrame({"flight_key": list("abcd"), "scheduled_local": days})
    model_input = pd.DataFrame({"row_split": ["train", "judge", "judge"], "row_time": days[:3]})
    assert ["b", "c", "d"] == flights.select_requests(requests, model_input)["flight_key"].tolist()
