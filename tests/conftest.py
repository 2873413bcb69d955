"""Small worlds that several tests share. They are read-only: a test that changes a table copies it first."""

import copy
import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kustomize
import numpy as np
import onnx
import pandas as pd
import pytest
from matplotlib.figure import Figure
from pydantic import BaseModel
from sklearn.base import BaseEstimator

import servers
from ml_lifecycle import estimators, export
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.parameters import (
    EvaluationOptions,
    FeatureOptions,
    FlightOptions,
    HistGradientBoostingOptions,
    LogisticRegressionOptions,
    ModelOptions,
    RandomForestOptions,
)
from ml_lifecycle.provenance.record import DataRecord, Environment, GitState, RunRecord, digest_of_table
from ml_lifecycle.roles import TableRoles


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of the object store."""
    parser.addoption("--object-store", choices=["auto", "minio", "weed"], default="auto", help="for tests on servers")
    parser.addoption("--pictures", type=Path, help="folder in which tests in a browser leave their pictures")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say which object store is used, and whether the manifests of Kubernetes can be built."""
    return [
        f"object store: {servers.chosen(config.getoption('--object-store'))}",
        f"kustomize: {kustomize.source() or 'neither it nor Go is there, so tests/k8s are left out; `make kustomize`'}",
    ]


NEW_YORK = "America/New_York"
DEST_MINUTES = {"BOS": 75, "ORD": 150, "SJU": 230}


def _clock(moment: pd.Timestamp) -> int:
    return moment.hour * 100 + moment.minute


def _flight(
    departs: str = "2013-06-15 10:00",
    minutes: int = 120,
    dep_delay: float = 0,
    arr_delay: float = 0,
    **columns: Any,
) -> dict[str, Any]:
    """One raw row; ``departs`` is the local schedule, ``minutes`` the scheduled time on the destination's clock."""
    local = pd.Timestamp(departs)
    lands = local + pd.Timedelta(minutes=minutes)
    departed = np.nan if np.isnan(dep_delay) else _clock(local + pd.Timedelta(minutes=dep_delay))
    landed = np.nan if np.isnan(arr_delay) else _clock(lands + pd.Timedelta(minutes=arr_delay))
    row = {
        "year": local.year,
        "month": local.month,
        "day": local.day,
        "dep_time": departed,
        "sched_dep_time": _clock(local),
        "dep_delay": dep_delay,
        "arr_time": landed,
        "sched_arr_time": _clock(lands),
        "arr_delay": arr_delay,
        "carrier": "UA",
        "flight": 1,
        "tailnum": "N1",
        "origin": "EWR",
        "dest": "BOS",
        "air_time": np.nan if np.isnan(arr_delay) else minutes - 30,
        "distance": 200,
        "hour": local.hour,
        "minute": local.minute,
        "time_hour": local.floor("h")
        .tz_localize(NEW_YORK, ambiguous=True)
        .tz_convert("UTC")
        .strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return row | columns


def _flights(*rows: dict[str, Any]) -> pd.DataFrame:
    floats = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]
    texts = ["carrier", "tailnum", "origin", "dest", "time_hour"]
    return pd.DataFrame([_flight(**row) for row in rows]).astype(
        dict.fromkeys(floats, "float64") | dict.fromkeys(texts, "str")
    )


@pytest.fixture(scope="session")
def make_flights() -> Callable[..., pd.DataFrame]:
    """Make raw flights; each argument says what differs from an ordinary flight."""
    return _flights


def _observation(origin: str, hour: pd.Timestamp, **values: float) -> dict[str, Any]:
    local = hour.tz_convert(NEW_YORK)
    place = {"origin": origin, "year": local.year, "month": local.month, "day": local.day, "hour": local.hour}
    weather = {
        "temp": 70.0 + hour.hour,
        "dewp": 50.0 + hour.hour,
        "humid": 40.0 + hour.hour,
        "wind_dir": 10.0 * hour.hour,
        "wind_speed": 5.0 + hour.hour,
        "wind_gust": 20.0 + hour.hour,
        "precip": hour.hour / 100,
        "pressure": 1000.0 + hour.hour,
        "visib": 5.0 + hour.hour / 10,
    }
    return place | weather | values | {"time_hour": hour.strftime("%Y-%m-%dT%H:%M:%SZ")}


def _busy_days() -> pd.DataFrame:
    """Three days of flights every 20 minutes: delays up to a day, cancellations, diversions, strange aircraft."""
    random = np.random.default_rng(7)
    tails = ["N1", "N2", "N3", "N9", None]  # N9 has no plane record
    rows = []
    for position in range(66):
        day, slot = divmod(position, 22)
        departs = pd.Timestamp("2013-06-01 06:00") + pd.Timedelta(days=day, minutes=20 * slot)
        dest = list(DEST_MINUTES)[slot % 3 - day % 2]
        nearly_a_day = 1380 - DEST_MINUTES[dest]
        delay = nearly_a_day if position in (8, 30) else int(random.integers(-10, 90))
        cancelled, diverted = position % 17 == 5, position % 19 == 7
        rows.append(
            {
                "departs": str(departs),
                "minutes": DEST_MINUTES[dest],
                "dep_delay": np.nan if cancelled else delay,
                "arr_delay": np.nan if cancelled or diverted else delay + int(random.integers(-25, 25)),
                "carrier": ("UA", "B6")[slot % 2],
                "flight": 100 + (slot // 6 + slot % 3) % 4,
                "tailnum": tails[position % 5],
                "origin": ("EWR", "JFK", "LGA")[slot % 3],
                "dest": dest,
                "distance": 100 + DEST_MINUTES[dest],
            }
        )
    return _flights(*rows)


@pytest.fixture(scope="session")
def raw_tables() -> dict[str, pd.DataFrame]:
    """The five raw tables with all their columns, for three busy days of June 2013."""
    hours = pd.date_range("2013-06-01 06:00", "2013-06-03 23:00", freq="h", tz="UTC")
    planes = {
        "tailnum": ["N1", "N2", "N3"],
        "year": [2003.0, np.nan, 1999.0],
        "type": "Fixed wing multi engine",
        "manufacturer": "BOEING",
        "model": "737-824",
        "engines": 2,
        "seats": [149, 55, 200],
        "speed": np.nan,
        "engine": "Turbo-fan",
    }
    airports = {
        "faa": ["BOS", "ORD", "EWR"],
        "name": ["Logan", "O'Hare", "Newark"],
        "lat": [42.4, 42.0, 40.7],
        "lon": [-71.0, -87.9, -74.2],
        "alt": [19, 668, 18],
        "tz": [-5, -6, -5],
        "dst": "A",
        "tzone": [NEW_YORK, "America/Chicago", None],
    }
    return {
        "flights": _busy_days(),
        "weather": pd.DataFrame([_observation(origin, hour) for origin in ("EWR", "JFK", "LGA") for hour in hours]),
        "planes": pd.DataFrame(planes),
        "airports": pd.DataFrame(airports).astype({"tzone": "str"}),
        "airlines": pd.DataFrame({"carrier": ["UA", "B6"], "name": ["United", "JetBlue"]}),
    }


@pytest.fixture(scope="session")
def flight_options() -> FlightOptions:
    """The defaults of the example: late from 15 minutes on, asked two hours before."""
    return FlightOptions(
        delay_threshold_minutes=15,
        lead_time_minutes=120,
        weather_known_after_minutes=60,
        airport_time_zones={"SJU": "America/Puerto_Rico"},
    )


@pytest.fixture(scope="session")
def before_departure() -> FeatureOptions:
    """All features known before departure."""
    return FeatureOptions(prediction_moment="before_departure", columns="all")


@pytest.fixture(scope="session")
def table_roles() -> TableRoles:
    """Roles of a table that has nothing to do with flights: will a customer leave?"""
    return TableRoles(
        table="customers",
        feature_set="table",
        key="customer",
        time="seen",
        target="left",
        labels=("stays", "leaves"),
        numeric=["age", "balance"],
        categorical=["job", "city"],
        baselines={"age_only": ["age"]},
    )


@pytest.fixture(scope="session")
def model_input() -> pd.DataFrame:
    """A table to learn from, 60 days: missing numbers, and jobs that appear only after the train slice."""
    random = np.random.default_rng(11)
    rows = 900
    day = np.sort(random.integers(0, 60, rows))
    age = random.normal(40, 12, rows).astype(np.float32)
    balance = random.normal(0, 1000, rows).astype(np.float32)
    balance[random.random(rows) < 0.2] = np.nan
    job = random.choice(["clerk", "nurse", "pilot", ""], rows).astype(object)
    job[(day >= 36) & (random.random(rows) < 0.1)] = "astronaut"
    chance = 1 / (1 + np.exp(-(age - 40) / 8 - (job == "pilot") + np.nan_to_num(balance) / 1500))
    split = np.select([day < 36, day < 45], ["train", "choose"], "judge")
    return pd.DataFrame(
        {
            "row_key": [f"c{number:04}" for number in range(rows)],
            "row_time": (pd.Timestamp("2013-01-01") + pd.to_timedelta(day, unit="D")).as_unit("us"),
            "row_split": split,
            "row_target": (random.random(rows) < chance).astype(np.int8),
            "age": age,
            "balance": balance,
            "job": job,
            "city": random.choice(["Bonn", "Lyon"], rows),
        }
    ).astype(dict.fromkeys(["row_key", "row_split", "job", "city"], "str"))


@pytest.fixture(scope="session")
def small_models() -> ModelOptions:
    """All three estimators, small enough to fit in a moment."""
    return ModelOptions(
        estimator="logistic_regression",
        random_forest=RandomForestOptions(n_estimators=12, min_samples_leaf=5, max_features="sqrt", n_jobs=1),
        hist_gradient_boosting=HistGradientBoostingOptions(
            max_iter=12, learning_rate=0.1, min_samples_leaf=10, max_leaf_nodes=15, l2_regularization=0.0
        ),
        logistic_regression=LogisticRegressionOptions(C=1.0, max_iter=500),
    )


@pytest.fixture(scope="session")
def onnx_model(model_input: pd.DataFrame, table_roles: TableRoles, small_models: ModelOptions) -> OnnxModel:
    """A boosted model of the customers, exported, that decides for ``leaves`` from 0.4 on."""
    options = small_models.hist_gradient_boosting
    pipeline = estimators.build(options, table_roles.numeric, table_roles.categorical, seed=1)
    train = model_input[model_input["row_split"] == "train"]
    fitted = estimators.fit(pipeline, train[table_roles.columns], train["row_target"])
    return export.seal(export.convert(fitted, table_roles), table_roles, threshold=0.4)


@pytest.fixture(scope="session")
def evaluation_options() -> EvaluationOptions:
    """A quick evaluation of the customers."""
    return EvaluationOptions(
        bootstrap_samples=50,
        confidence=0.9,
        calibration_bins=5,
        slices=["month", "city"],
        rates_by=["month", "city"],
        importance_rows=100,
        importance_repeats=2,
    )


@pytest.fixture(scope="session")
def run_record() -> RunRecord:
    """What is known about a run when it starts."""
    return RunRecord(
        started_at="2013-12-01T10:00:00+00:00",
        kedro_environment="test",
        pipelines=["training"],
        git=GitState(commit="c0ffee", dirty=False, diff_sha256="0" * 64),
        environment=Environment(python="3.11.9", platform="Linux-x86_64", lock_sha256="1" * 64),
        parameters={"seed": 1},
        parameters_sha256="2" * 64,
    )


@pytest.fixture(scope="session")
def data_record(model_input: pd.DataFrame, run_record: RunRecord) -> DataRecord:
    """What the run that made the table of the customers noted: an earlier one, of another commit."""
    git = GitState(commit="decade", dirty=False, diff_sha256="0" * 64)
    update = {"started_at": "2013-11-30T10:00:00+00:00", "pipelines": ["data_engineering"], "git": git}
    return DataRecord(model_input_sha256=digest_of_table(model_input), run=run_record.model_copy(update=update))


def _png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _column(column: pd.Series | pd.Index) -> Any:
    return str(column.dtype), pd.util.hash_pandas_object(column, categorize=False).to_numpy().tobytes()


_PLAIN: dict[type, Callable[[Any], Any]] = {
    dict: lambda value: [(key, _freeze(item)) for key, item in value.items()],
    list: lambda value: [_freeze(item) for item in value],
    tuple: lambda value: [_freeze(item) for item in value],
    pd.DataFrame: lambda value: [(name, _column(column)) for name, column in value.items()],
    pd.Series: _column,
    pd.Index: _column,
    np.ndarray: lambda value: (str(value.dtype), value.shape, repr(value.tolist())),
    onnx.ModelProto: lambda value: value.SerializeToString(deterministic=True),
    BaseModel: lambda value: value.model_dump_json(),
    Figure: _png,
    BaseEstimator: lambda value: (type(value), _freeze(vars(value))),
}


def _freeze(value: Any) -> Any:
    """Turn a value into one that equals another only if both hold the same, to the last bit."""
    for kind, plain in _PLAIN.items():
        if isinstance(value, kind):
            return plain(value)
    if dataclasses.is_dataclass(value):
        return [(entry.name, _freeze(getattr(value, entry.name))) for entry in dataclasses.fields(value)]
    return repr(value)


@pytest.fixture(scope="session")
def freeze() -> Callable[[Any], Any]:
    """Turn any input or output of a node into a value that can be compared bit for bit."""
    return _freeze


@pytest.fixture(scope="session")
def run_nodes() -> Callable[[Any, dict[str, Any]], dict[str, Any]]:
    """Run the nodes of a pipeline one after the other in memory; the answer holds every dataset."""

    def run(pipeline: Any, data: dict[str, Any]) -> dict[str, Any]:
        data = dict(data)
        for node in pipeline.nodes:
            data |= node.run({name: copy.copy(data[name]) for name in node.inputs})
        return data

    return run
