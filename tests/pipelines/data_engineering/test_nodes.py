"""Nodes for any table: features, slices and the account of rows; and the purity of all nodes."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_lifecycle import schemas
from ml_lifecycle.errors import ConfigurationError, DataContractError
from ml_lifecycle.parameters import FeatureOptions, FlightOptions, SplitOptions, TableOptions
from ml_lifecycle.pipelines.data_engineering import create_pipeline, create_table_pipeline, nodes
from ml_lifecycle.provenance.record import DataRecord, RunRecord, digest_of_table
from ml_lifecycle.roles import TableRoles

BY_DATE = SplitOptions(choose_from="2013-06-02", judge_from="2013-06-03", choose_share=0.1, judge_share=0.2)
BY_SHARE = SplitOptions(choose_share=0.1, judge_share=0.2)
PIPELINES = {"flights": create_pipeline(), "table": create_table_pipeline()}
NODES = [(name, node.name) for name, pipeline in PIPELINES.items() for node in pipeline.nodes]
RAW_INPUTS = {"flights": {"path": "data/01_raw/flights.csv.zip", "md5": "0" * 32, "size": 1}}


@pytest.fixture(scope="module")
def customers() -> pd.DataFrame:
    """A small table of someone else's: two hundred customers, of whom some leave."""
    random = np.random.default_rng(5)
    left = pd.Series(random.choice(["yes", "no", None], 200, p=[0.3, 0.65, 0.05]), dtype="str")
    return pd.DataFrame(
        {"age": random.integers(18, 80, 200), "city": random.choice(["Bonn", "Lyon"], 200), "left": left}
    )


@pytest.fixture(scope="module")
def worlds(
    raw_tables: dict[str, pd.DataFrame],
    customers: pd.DataFrame,
    flight_options: FlightOptions,
    before_departure: FeatureOptions,
    run_record: RunRecord,
    run_nodes: Callable[..., dict[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Every dataset of both pipelines."""
    common = {"raw_inputs": RAW_INPUTS, "run_record": run_record, "params:seed": 1}
    flights = {"params:flights": flight_options, "params:features": before_departure, "params:split": BY_DATE}
    table = {
        "table": customers,
        "params:table": TableOptions(target="left", task="binary", max_categories=10),
        "params:split": BY_SHARE,
    }
    return {
        "flights": run_nodes(PIPELINES["flights"], raw_tables | common | flights),
        "table": run_nodes(PIPELINES["table"], table | common),
    }


@pytest.mark.parametrize(("pipeline", "name"), NODES)
def test_a_node_is_pure(
    pipeline: str, name: str, worlds: dict[str, dict[str, Any]], freeze: Callable[[Any], Any]
) -> None:
    """A node leaves its inputs as they were and gives the same output every time."""
    node = next(node for node in PIPELINES[pipeline].nodes if node.name == name)
    inputs = {dataset: worlds[pipeline][dataset] for dataset in node.inputs}
    before, first = freeze(inputs), freeze(node.run(dict(inputs)))
    assert (before, first) == (freeze(inputs), freeze(node.run(dict(inputs))))


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_model_input_and_quarantine_fulfil_their_contracts(pipeline: str, worlds: dict[str, dict[str, Any]]) -> None:
    """What both pipelines make passes the contracts of the catalog, and rows add up."""
    world = worlds[pipeline]
    kept = len(schemas.ModelInput.validate(world["model_input"]))
    aside = (schemas.Quarantine.validate(world["quarantine"])["table"] == pipeline).sum()
    assert len(world[pipeline]) == kept + aside


def test_features_stand_behind_key_and_time(model_input: pd.DataFrame, table_roles: TableRoles) -> None:
    """A feature table begins with the row's key and time; its features are float32 and text."""
    requests = model_input.rename(columns={"row_key": "customer", "row_time": "seen"})
    table = nodes.compute_features(requests, table_roles.model_dump())
    assert ["row_key", "row_time", "age", "balance", "job", "city"] == list(table)
    assert ["float32", "float32", "str", "str"] == [str(table[name].dtype) for name in table_roles.columns]


def test_a_table_without_time_has_missing_times(model_input: pd.DataFrame, table_roles: TableRoles) -> None:
    """Without a time column the rows' times are missing, of the type of times."""
    requests = model_input.rename(columns={"row_key": "customer"})
    table = nodes.compute_features(requests, table_roles.model_dump() | {"time": None})
    assert ("datetime64[us]", True) == (str(table["row_time"].dtype), table["row_time"].isna().all())


def assembled(time: Any, target: Any, options: SplitOptions, seed: int = 1) -> pd.DataFrame:
    """Assemble a table of one feature with these times (or none) and labels."""
    keys = [f"k{number}" for number in range(len(target))]
    times = pd.Series(pd.NaT if time is None else time, index=range(len(target)), dtype="datetime64[us]")
    features = pd.DataFrame({"row_key": keys, "row_time": times, "x": np.float32(0)})
    roles = {
        "table": "t", "feature_set": "table", "key": "id", "time": None if time is None else "at", "target": "y",
        "labels": ("a", "b"), "numeric": ["x"], "categorical": [], "baselines": {},
    }  # fmt: skip
    return nodes.assemble_model_input(features, pd.DataFrame({"id": keys, "target": target}), roles, options, seed)


def test_dates_divide_the_slices() -> None:
    """A slice begins at midnight of its date."""
    minutes = ["2013-06-01 00:00", "2013-06-01 23:59", "2013-06-02 00:00", "2013-06-02 23:59"]
    times = pd.to_datetime([*minutes, "2013-06-03 00:00", "2013-06-09 12:00"])
    table = assembled(times, [0, 1, 0, 1, 0, 1], BY_DATE)
    assert ["train", "train", "choose", "choose", "judge", "judge"] == table["row_split"].tolist()


def test_shares_divide_by_time_where_there_is_one() -> None:
    """The latest rows are judged, those before them choose, however the table is ordered."""
    order = np.random.default_rng(0).permutation(1000)
    times = pd.Timestamp("2013-01-01") + pd.to_timedelta(order, unit="h")
    table = assembled(times, order % 2, BY_SHARE).sort_values("row_time")
    sizes = table["row_split"].value_counts()
    assert ["train", "choose", "judge"] == table["row_split"].drop_duplicates().tolist()
    assert [700, 100, 200] == pytest.approx([sizes["train"], sizes["choose"], sizes["judge"]], abs=1)


def test_rows_of_one_moment_stay_in_one_slice() -> None:
    """Simultaneous rows are never divided between slices."""
    times = pd.Timestamp("2013-01-01") + pd.to_timedelta(np.arange(200) // 10, unit="D")
    table = assembled(times, np.arange(200) % 2, BY_SHARE)
    assert 1 == table.groupby("row_time")["row_split"].nunique().max()


def test_without_a_time_each_class_is_divided_by_the_shares() -> None:
    """A random split keeps the share of positives in every slice."""
    table = assembled(None, np.arange(1000) % 10 == 0, BY_SHARE)
    expected = {("train", 0): 630, ("train", 1): 70, ("choose", 0): 90, ("choose", 1): 10}
    assert expected | {("judge", 0): 180, ("judge", 1): 20} == table.value_counts(["row_split", "row_target"]).to_dict()


@pytest.mark.parametrize(("seed", "same"), [(1, True), (2, False)])
def test_the_random_split_follows_the_seed(seed: int, same: bool) -> None:
    """The same seed divides alike, another one differently."""
    target = np.arange(300) % 2
    first, second = assembled(None, target, BY_SHARE, 1), assembled(None, target, BY_SHARE, seed)
    assert same is bool((first["row_split"] == second["row_split"]).all())


@pytest.mark.parametrize(
    ("target", "slice_name"),
    [([0, 0, 0, 1, 0, 1], "train"), ([0, 1, 0, 0, 0, 1], "choose"), ([0, 1, 0, 1, 1, 1], "judge")],
)
def test_a_slice_of_one_label_is_refused(target: list[int], slice_name: str) -> None:
    """The error names the slice in which nothing can be learned or judged."""
    days = ["2013-06-01", "2013-06-01", "2013-06-02", "2013-06-02", "2013-06-03", "2013-06-03"]
    with pytest.raises(ConfigurationError, match=f"The {slice_name} slice holds 1 of the 2 labels"):
        assembled(pd.to_datetime(days), target, BY_DATE)


def test_an_empty_slice_is_refused() -> None:
    """Dates beyond the table leave a slice empty, which is an error."""
    with pytest.raises(ConfigurationError, match="The choose slice holds 0 of the 2 labels"):
        assembled(pd.to_datetime(["2013-05-01", "2013-05-02"]), [0, 1], BY_DATE)


def test_rows_without_a_label_are_left_out(model_input: pd.DataFrame, table_roles: TableRoles) -> None:
    """Only labelled rows are learned from and judged."""
    features = model_input.drop(columns=["row_split", "row_target"])
    labels = model_input.iloc[::3].rename(columns={"row_key": "customer", "row_target": "target"})
    split = SplitOptions(choose_from="2013-02-06", judge_from="2013-02-15", choose_share=0.1, judge_share=0.1)
    table = nodes.assemble_model_input(
        features, labels[["customer", "target"]], table_roles.model_dump(), split, seed=1
    )
    assert labels["customer"].tolist() == table["row_key"].tolist()


def test_quarantines_are_joined() -> None:
    """All rows set aside stand in one table, numbered anew."""
    merged = nodes.merge_quarantine(pd.DataFrame({"row": [4]}), pd.DataFrame({"row": [2, 3]}))
    assert ([0, 1, 2], [4, 2, 3]) == (merged.index.tolist(), merged["row"].tolist())


def account(model_input: pd.DataFrame, roles: TableRoles, incoming: int) -> dict[str, Any]:
    """Account for two rows in quarantine, for two different reasons, and a second table."""
    aside = pd.DataFrame({"table": ["customers", "customers"], "reason": ["b", "a"]})
    tables = {"customers": pd.DataFrame(index=range(incoming)), "cities": pd.DataFrame(index=range(3))}
    return nodes.account_for_rows({}, aside, model_input, roles.model_dump(), **tables)


def test_every_row_is_accounted_for(model_input: pd.DataFrame, table_roles: TableRoles) -> None:
    """Rows in are rows kept and rows in quarantine, by reason, for each raw table."""
    expected = {
        "customers": {"in": 902, "kept": 900, "quarantined": {"a": 1, "b": 1}},
        "cities": {"in": 3, "kept": 3, "quarantined": {}},
    }
    assert expected == account(model_input, table_roles, 902)["rows"]


@pytest.mark.parametrize("incoming", [901, 903], ids=["a row too many", "a row lost"])
def test_a_lost_row_is_an_error(incoming: int, model_input: pd.DataFrame, table_roles: TableRoles) -> None:
    """A row that is neither kept nor in quarantine stops the run, with the counts."""
    with pytest.raises(
        DataContractError, match=f"Rows are lost: {incoming} rows of 'customers' came in, 900 were kept"
    ):
        account(model_input, table_roles, incoming)


def test_slices_are_described(model_input: pd.DataFrame, table_roles: TableRoles) -> None:
    """Each slice reports its rows, its positives and its first and last moment."""
    choose = model_input[model_input["row_split"] == "choose"]
    expected = {
        "rows": len(choose),
        "positives": int(choose["row_target"].sum()),
        "from": "2013-02-06 00:00:00",
        "until": "2013-02-14 00:00:00",
    }
    assert expected == account(model_input, table_roles, 902)["slices"]["choose"]


def test_slices_without_time_have_no_dates(model_input: pd.DataFrame, table_roles: TableRoles) -> None:
    """A table without time has slices without a first and a last moment."""
    untimed = model_input.assign(row_time=pd.Series(pd.NaT, index=model_input.index, dtype="datetime64[us]"))
    slices = account(untimed, table_roles, 902)["slices"]
    assert {(None, None)} == {(described["from"], described["until"]) for described in slices.values()}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_record_of_the_data_names_table_and_run(
    pipeline: str, worlds: dict[str, dict[str, Any]], run_record: RunRecord
) -> None:
    """Both pipelines note the digest of the table they made and the run that made it, as JSON holds it."""
    world = worlds[pipeline]
    expected = DataRecord(model_input_sha256=digest_of_table(world["model_input"]), run=run_record)
    assert expected == DataRecord.model_validate_json(json.dumps(world["data_record"]))


def test_the_record_of_the_data_keeps_the_changes_of_its_run(model_input: pd.DataFrame, run_record: RunRecord) -> None:
    """What the run had changed beyond its commit is written as JSON and read as it was, whatever its bytes are."""
    git = run_record.git.model_copy(update={"dirty": True, "patch": b"\xff\0 diff"})
    noted = nodes.record_data(model_input, run_record.model_copy(update={"git": git}))
    assert git == DataRecord.model_validate(json.loads(json.dumps(noted))).run.git
