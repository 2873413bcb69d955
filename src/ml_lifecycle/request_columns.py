"""What a prediction is asked with: the one declaration of a request's columns.

``schemas.FlightRequests`` is made of it for tables, ``features.request_columns`` names the part that a model needs.
It takes no library for tables, so that a service can check single records against it.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

from ml_lifecycle.moments import Moment


@dataclass(frozen=True)
class RequestColumn:
    """A column of requests.

    A ``number`` is a float64 and a ``whole`` number an int64. A ``moment`` is a time in its ``time_zone``, or what the
    clock on the wall shows. ``about`` tells the unit or the meaning, ``minimum`` is the smallest value allowed.
    Single values may be missing in a ``nullable`` column; a whole column that is not ``required`` may be.
    ``example`` is for columns that no feature has as they are.
    """

    name: str
    kind: Literal["text", "number", "whole", "moment"]
    known_at: Moment
    about: str
    nullable: bool = False
    minimum: float | None = None
    unique: bool = False
    required: bool = True
    time_zone: Literal["UTC"] | None = None
    example: str | float | None = None


_schedule = partial(RequestColumn, known_at=Moment.SCHEDULE)
_state = partial(RequestColumn, kind="number", known_at=Moment.BEFORE_DEPARTURE, nullable=True, required=False)
_backlog = partial(RequestColumn, kind="whole", known_at=Moment.BEFORE_DEPARTURE, minimum=0, required=False)
_outcome = partial(RequestColumn, kind="number", nullable=True, required=False)

#: A scheduled flight, and the state of the world as of the prediction time.
FLIGHT_REQUEST: tuple[RequestColumn, ...] = (
    _schedule("flight_key", "text", about="name of the departure", unique=True),
    _schedule("scheduled_departure", "moment", about="UTC", time_zone="UTC"),
    _schedule("scheduled_local", "moment", about="the wall clock in New York", example="2013-12-20T17:05:00"),
    _schedule("scheduled_minutes", "whole", about="minutes from gate to gate", minimum=1),
    _schedule("carrier", "text", about="code of the airline"),
    _schedule("origin", "text", about="FAA code of the airport"),
    _schedule("dest", "text", about="FAA code of the airport"),
    _schedule("distance", "whole", about="miles", minimum=1),
    _schedule(
        "origin_flights_in_hour", "whole", about="flights within half an hour, itself included, same origin", minimum=0
    ),
    _schedule(
        "origin_carrier_flights_in_hour",
        "whole",
        about="flights within half an hour, itself included, same origin and carrier",
        minimum=0,
    ),
    _state("aircraft_year", about="year of construction", example=2004),
    _state("aircraft_seats", about="seats"),
    _state("aircraft_departure_delay", about="minutes, at the aircraft's last departure"),
    _state("aircraft_departure_age", about="minutes since that departure"),
    _state("aircraft_arrival_delay", about="minutes, at the aircraft's last arrival"),
    _state("aircraft_arrival_age", about="minutes since that arrival"),
    _state("origin_departure_delay_1h", about="minutes, mean departure delay over the last 1 h, same origin"),
    _state("origin_departure_delay_3h", about="minutes, mean departure delay over the last 3 h, same origin"),
    _state(
        "origin_carrier_departure_delay_6h",
        about="minutes, mean departure delay over the last 6 h, same origin and carrier",
    ),
    _state("network_departure_delay_3h", about="minutes, mean departure delay over the last 3 h, all flights"),
    _state("origin_arrival_delay_3h", about="minutes, mean arrival delay over the last 3 h, same origin"),
    _state("dest_arrival_delay_6h", about="minutes, mean arrival delay over the last 6 h, same dest"),
    _state("carrier_arrival_delay_6h", about="minutes, mean arrival delay over the last 6 h, same carrier"),
    _state(
        "flight_arrival_delay_28d", about="minutes, mean arrival delay over the last 28 days, same carrier and flight"
    ),
    _state("flight_late_share_28d", about="share of late arrivals over the last 28 days, same carrier and flight"),
    _state("route_late_share_28d", about="share of late arrivals over the last 28 days, same origin and dest"),
    _state(
        "origin_carrier_late_share_28d", about="share of late arrivals over the last 28 days, same origin and carrier"
    ),
    _state("origin_hour_late_share_28d", about="share of late arrivals over the last 28 days, same origin and hour"),
    _state("network_late_share_7d", about="share of late arrivals over the last 7 days, all flights"),
    _backlog("origin_backlog_6h", about="flights of the last 6 h that have not left, same origin"),
    _backlog("origin_carrier_backlog_6h", about="flights of the last 6 h that have not left, same origin and carrier"),
    _state("temperature", about="°F"),
    _state("dew_point", about="°F"),
    _state("humidity", about="%"),
    _state("wind_direction", about="degrees"),
    _state("wind_speed", about="mph"),
    _state("wind_gust", about="mph"),
    _state("precipitation", about="inches"),
    _state("pressure", about="hPa"),
    _state("visibility", about="miles"),
    _outcome("departure_delay", known_at=Moment.AT_DEPARTURE, about="minutes"),
    _outcome("air_minutes", known_at=Moment.AFTER_LANDING, about="minutes in the air"),
)
