"""Nodes for the worked example: flights, weather and aircraft become labelled requests."""

from typing import Any

import numpy as np
import pandas as pd

from ml_lifecycle import features, schemas
from ml_lifecycle.errors import DataContractError
from ml_lifecycle.moments import Moment, known_by
from ml_lifecycle.parameters import FeatureOptions, FlightOptions
from ml_lifecycle.quarantine import screen, set_aside
from ml_lifecycle.roles import TableRoles

from . import lookups, schedule

CANCELLED = "no label: the flight never left"
DIVERTED = "no label: no arrival delay was recorded"
LABELS = ("on_time", "late")
KEY = "flight_key"
TIME = "scheduled_local"


def screen_raw_tables(flights: pd.DataFrame, weather: pd.DataFrame, planes: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Set aside the rows of the raw tables that break a rule.

    Returns ``flights``, ``weather``, ``planes`` (kept rows, row numbers unchanged) and ``quarantine``.
    """
    kept, aside = {}, []
    for name, table, rules in (
        ("flights", flights, schemas.FlightRows),
        ("weather", weather, schemas.WeatherRows),
        ("planes", planes, schemas.PlaneRows),
    ):
        kept[name], quarantined = screen(name, table, rules)
        aside.append(quarantined)
    return {**kept, "quarantine": pd.concat(aside, ignore_index=True)}


def _refuse_unknown_carriers(flights: pd.DataFrame, airlines: pd.DataFrame) -> None:
    unknown = flights.loc[~flights["carrier"].isin(airlines["carrier"]), "carrier"].value_counts()
    if len(unknown):
        named = ", ".join(f"{carrier} ({count} flights)" for carrier, count in unknown.items())
        raise DataContractError(f"Carriers without a row in the airlines table: {named}. Add them there.")


def schedule_flights(
    flights: pd.DataFrame, airports: pd.DataFrame, airlines: pd.DataFrame, options: FlightOptions
) -> pd.DataFrame:
    """Give every flight a key, its times in UTC and what became of it; row numbers stay.

    A recorded arrival counts as known from the scheduled arrival plus its delay, and never
    before departure plus air time.

    Raises:
        DataContractError: a carrier is not among the airlines, or a destination has no time zone.
    """
    _refuse_unknown_carriers(flights, airlines)
    departure = schedule.departures(flights)
    arrival = schedule.arrivals(flights, departure, schedule.time_zones(flights, airports, options.airport_time_zones))
    delays = pd.to_timedelta(flights["dep_delay"], unit="min").dt.as_unit("us")
    departed = departure + delays
    airborne = departed + pd.to_timedelta(flights["air_time"], unit="min").dt.as_unit("us")
    arrived = arrival + pd.to_timedelta(flights["arr_delay"], unit="min").dt.as_unit("us")
    day = pd.to_datetime(flights[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")
    return pd.DataFrame(
        {
            KEY: day + " " + flights["carrier"] + flights["flight"].astype(str) + " " + flights["origin"],
            "scheduled_departure": departure,
            TIME: departure.dt.tz_convert(schemas.NEW_YORK).dt.tz_localize(None),
            "scheduled_minutes": (arrival - departure).dt.total_seconds().astype("int64") // 60,
            "carrier": flights["carrier"],
            "flight": flights["flight"],
            "tailnum": flights["tailnum"],
            "origin": flights["origin"],
            "dest": flights["dest"],
            "distance": flights["distance"],
            "departed_at": departed,
            "departure_delay": flights["dep_delay"],
            "arrived_at": arrived.where(~(arrived < airborne), airborne),
            "air_minutes": flights["air_time"],
            "arrival_delay": flights["arr_delay"],
        }
    )


def look_up_state(
    scheduled: pd.DataFrame,
    weather: pd.DataFrame,
    planes: pd.DataFrame,
    options: FlightOptions,
    feature_options: FeatureOptions,
) -> pd.DataFrame:
    """Join to every scheduled flight the state of the world as of its prediction time.

    Columns known only after the prediction moment are left out.
    """
    asked_at = lookups.utc_minutes(scheduled["scheduled_departure"]) - options.lead_time_minutes
    plane = planes.set_index("tailnum")[["year", "seats"]].reindex(scheduled["tailnum"])
    columns: dict[str, Any] = {
        **{name: scheduled[name] for name in scheduled.columns if name in schemas.FlightRequests.known_at()},
        "origin_flights_in_hour": lookups.congestion(scheduled, ("origin",)),
        "origin_carrier_flights_in_hour": lookups.congestion(scheduled, ("origin", "carrier")),
        "aircraft_year": plane["year"].to_numpy(),
        "aircraft_seats": plane["seats"].to_numpy(),
        **lookups.aircraft_state(scheduled, asked_at),
        **lookups.recent_means(scheduled, asked_at, options),
        "origin_backlog_6h": lookups.backlog(scheduled, asked_at, ("origin",)),
        "origin_carrier_backlog_6h": lookups.backlog(scheduled, asked_at, ("origin", "carrier")),
        **lookups.weather_as_of(scheduled, weather, asked_at, options),
    }
    known_at = schemas.FlightRequests.known_at()
    allowed = known_by(known_at, feature_options.prediction_moment)
    later = set(known_at) - set(allowed)
    return pd.DataFrame(columns, index=scheduled.index).drop(columns=list(later))[allowed]


def label_flights(scheduled: pd.DataFrame, options: FlightOptions) -> dict[str, pd.DataFrame]:
    """Label each flight late (1) or on time (0); flights without an arrival delay go to quarantine.

    ``late`` is an arrival delay of at least the threshold; 15 minutes is the definition of the
    US Department of Transportation (Bureau of Transportation Statistics, on-time performance).
    """
    delay = scheduled["arrival_delay"]
    reasons = scheduled["departed_at"].isna().map({True: CANCELLED, False: DIVERTED})[delay.isna()]
    labelled = scheduled.loc[delay.notna(), [KEY]]
    late = delay[delay.notna()] >= options.delay_threshold_minutes
    return {
        "labels": labelled.assign(target=late.astype(np.int8)),
        "quarantine": set_aside("flights", scheduled, reasons),
    }


def describe_roles(options: FeatureOptions) -> dict[str, Any]:
    """Say what each column of the flights table is for; the baseline knows only the schedule."""
    chosen = features.flight_features(options.names())
    kinds = {kind: [feature.name for feature in chosen if feature.kind == kind] for kind in ("numeric", "categorical")}
    scheduled = [feature.name for feature in chosen if feature.known_at is Moment.SCHEDULE]
    roles = TableRoles(
        table="flights",
        feature_set="flights",
        key=KEY,
        time=TIME,
        target="late",
        labels=LABELS,
        baselines={"schedule_only": scheduled} if scheduled else {},
        **kinds,
    )
    return roles.model_dump(mode="json")


def select_requests(requests: pd.DataFrame, model_input: pd.DataFrame) -> pd.DataFrame:
    """Select the flights to score: everything scheduled from the judge slice on, flown or not."""
    judged_from = model_input.loc[model_input["row_split"] == "judge", "row_time"].min()
    return requests[requests[TIME] >= judged_from].reset_index(drop=True)
