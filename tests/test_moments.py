"""The known-at contract."""

import pytest

from ml_lifecycle import features, schemas
from ml_lifecycle.errors import ConfigurationError
from ml_lifecycle.moments import Moment, known_by, latest, refuse_later
from ml_lifecycle.parameters import FeatureOptions

RAW = (schemas.Flights, schemas.Weather, schemas.Planes, schemas.Airports, schemas.Airlines)
MADE = (schemas.ScheduledFlights, schemas.FlightRequests)


def test_moments_come_in_order() -> None:
    """The schedule is known first, the landing last."""
    assert ["schedule", "before_departure", "at_departure", "after_landing"] == sorted(
        Moment, key=lambda moment: moment.order
    )


@pytest.mark.parametrize("table", [*RAW, *MADE], ids=lambda table: table.__name__)
def test_every_column_has_a_moment(table: type[schemas.Table]) -> None:
    """Each column of each raw table, of the schedule and of the requests says when it is known."""
    assert list(table.to_schema().columns) == list(table.known_at())


def test_every_feature_is_known_when_its_last_input_is() -> None:
    """A feature's moment is the latest moment of its inputs."""
    columns = schemas.FlightRequests.known_at()
    expected = {
        feature.name: max((columns[name] for name in feature.inputs), key=lambda moment: moment.order)
        for feature in features.FLIGHT_FEATURES
    }
    assert expected == features.known_at()


@pytest.mark.parametrize(
    ("column", "moment"),
    [
        ("sched_dep_time", Moment.SCHEDULE),
        ("tailnum", Moment.BEFORE_DEPARTURE),
        ("dep_time", Moment.AT_DEPARTURE),
        ("dep_delay", Moment.AT_DEPARTURE),
        ("arr_time", Moment.AFTER_LANDING),
        ("arr_delay", Moment.AFTER_LANDING),
        ("air_time", Moment.AFTER_LANDING),
    ],
)
def test_raw_flight_columns_are_known_when_they_happen(column: str, moment: Moment) -> None:
    """What happens at departure or landing is known then, and not before."""
    assert moment is schemas.Flights.known_at()[column]


def test_weather_and_planes_are_known_before_departure() -> None:
    """No column of the weather or of the planes is part of the schedule."""
    known = set(schemas.Weather.known_at().values()) | set(schemas.Planes.known_at().values())
    assert {Moment.BEFORE_DEPARTURE} == known


@pytest.mark.parametrize("moment", list(Moment))
def test_the_arrival_delay_is_never_a_feature(moment: Moment) -> None:
    """The label's source is no feature and no input of one, at any prediction moment."""
    chosen = features.flight_features(FeatureOptions(prediction_moment=moment, columns="all").names())
    used = {name for feature in chosen for name in (feature.name, *feature.inputs)}
    assert set() == used & {"arrival_delay", "arr_delay", "arr_time", "arrived_at", "late", "target"}


def test_known_by_keeps_the_given_order() -> None:
    """Columns known by a moment are listed in their own order, earlier and equal moments alike."""
    known = {"b": Moment.AT_DEPARTURE, "a": Moment.SCHEDULE, "c": Moment.AFTER_LANDING}
    assert ["b", "a"] == known_by(known, Moment.AT_DEPARTURE)


def test_latest_is_the_moment_when_everything_is_known() -> None:
    """The latest of several moments decides."""
    assert Moment.AT_DEPARTURE is latest([Moment.SCHEDULE, Moment.AT_DEPARTURE, Moment.BEFORE_DEPARTURE])


@pytest.mark.parametrize(
    ("asked", "moment", "message"),
    [
        ("departure_delay", Moment.BEFORE_DEPARTURE, r"'departure_delay' \(known at_departure\)"),
        ("air_minutes", Moment.AT_DEPARTURE, r"'air_minutes' \(known after_landing\)"),
        ("temperature", Moment.SCHEDULE, r"'temperature' \(known before_departure\)"),
    ],
)
def test_a_later_column_is_refused_by_name(asked: str, moment: Moment, message: str) -> None:
    """The error names the column and the moment when it is known."""
    with pytest.raises(ConfigurationError, match=message):
        refuse_later(["hour", asked], features.known_at(), moment)


def test_the_refusal_lists_what_is_allowed() -> None:
    """The error lists the columns known by the moment, and only those."""
    known = {"hour": Moment.SCHEDULE, "humidity": Moment.BEFORE_DEPARTURE, "delay": Moment.AT_DEPARTURE}
    with pytest.raises(ConfigurationError, match=r"Allowed: hour, humidity\. "):
        refuse_later(["delay"], known, Moment.BEFORE_DEPARTURE)


def test_an_unknown_column_is_refused_by_name() -> None:
    """A name that is no feature is refused with the list of features."""
    with pytest.raises(ConfigurationError, match=r"No such feature: hoor\. Allowed: .*hour"):
        refuse_later(["hoor"], features.known_at(), Moment.AFTER_LANDING)


def test_feature_options_refuse_a_later_column() -> None:
    """Asking for the departure delay before departure is refused when the parameters are read."""
    with pytest.raises(ConfigurationError, match=r"before_departure': 'departure_delay' .* Allowed: hour, "):
        FeatureOptions(prediction_moment="before_departure", columns=["hour", "departure_delay"])


@pytest.mark.parametrize(("moment", "available"), [(Moment.BEFORE_DEPARTURE, False), (Moment.AT_DEPARTURE, True)])
def test_the_departure_delay_is_available_from_departure_on(moment: Moment, available: bool) -> None:
    """A later prediction moment makes the departure delay a feature."""
    assert available is ("departure_delay" in FeatureOptions(prediction_moment=moment, columns="all").names())


def test_listed_columns_keep_their_order() -> None:
    """A list of columns is the list of features, in the order given."""
    options = FeatureOptions(prediction_moment="before_departure", columns=["temperature", "hour"])
    assert ["temperature", "hour"] == options.names()
