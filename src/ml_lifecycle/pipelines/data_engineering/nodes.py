"""Nodes for any table: features, slices in time order, and the account of every row."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml_lifecycle import features
from ml_lifecycle.errors import ConfigurationError, DataContractError
from ml_lifecycle.parameters import SplitOptions
from ml_lifecycle.provenance.record import DataRecord, RunRecord, digest_of_table
from ml_lifecycle.roles import TableRoles

SPLITS = ("train", "choose", "judge")


def compute_features(requests: pd.DataFrame, table_roles: dict[str, Any]) -> pd.DataFrame:
    """Compute the features of every request, with its key and time in front."""
    roles = TableRoles.model_validate(table_roles)
    columns = {name: requests[name].to_numpy() for name in requests.columns}
    computed = features.compute(roles.feature_set, columns, roles.numeric, roles.categorical)
    table = pd.DataFrame(computed, index=requests.index).astype(dict.fromkeys(roles.categorical, "str"))
    time = requests[roles.time] if roles.time else pd.Series(pd.NaT, index=requests.index)
    table.insert(0, "row_key", requests[roles.key])
    table.insert(1, "row_time", time.astype("datetime64[us]"))
    return table


def _split_by_time(time: pd.Series, options: SplitOptions) -> npt.NDArray[Any]:
    choose_from: Any = options.choose_from and pd.Timestamp(options.choose_from)
    judge_from: Any = options.judge_from and pd.Timestamp(options.judge_from)
    if not judge_from:
        judge_from = time.quantile(1 - options.judge_share, interpolation="lower")
        choose_from = time.quantile(1 - options.judge_share - options.choose_share, interpolation="lower")
    return np.select([time >= judge_from, time >= choose_from], ["judge", "choose"], "train")


def _split_at_random(target: pd.Series, options: SplitOptions, seed: int) -> npt.NDArray[Any]:
    random = np.random.default_rng(seed)
    split = np.full(len(target), "train", dtype=object)
    for label in np.unique(target):
        rows = random.permutation(np.flatnonzero(target == label))
        judge, choose = (round(len(rows) * share) for share in (options.judge_share, options.choose_share))
        split[rows[:judge]] = "judge"
        split[rows[judge : judge + choose]] = "choose"
    return split


def _refuse_empty_slices(table: pd.DataFrame) -> None:
    for name in SPLITS:
        labels = table.loc[table["row_split"] == name, "row_target"].nunique()
        if labels < 2:  # noqa: PLR2004 - both labels of a binary target
            raise ConfigurationError(
                f"The {name} slice holds {labels} of the 2 labels, so nothing can be learned or judged there. "
                "Change split.choose_from and split.judge_from (or the shares), or add rows."
            )


def assemble_model_input(
    feature_table: pd.DataFrame, labels: pd.DataFrame, table_roles: dict[str, Any], options: SplitOptions, seed: int
) -> pd.DataFrame:
    """Join features and labels, and give each row its slice: train, choose or judge.

    ``labels`` holds the key column and ``target`` (0 or 1). Rows without a label are left out;
    the earlier nodes have put them into quarantine.
    """
    roles = TableRoles.model_validate(table_roles)
    labels = labels.rename(columns={roles.key: "row_key", "target": "row_target"})
    table = feature_table.merge(labels, on="row_key", how="inner", validate="one_to_one")
    split = (
        _split_by_time(table["row_time"], options)
        if roles.time
        else _split_at_random(table["row_target"], options, seed)
    )
    table.insert(2, "row_split", pd.Series(split, dtype="str"))
    table.insert(3, "row_target", table.pop("row_target").astype(np.int8))
    _refuse_empty_slices(table)
    return table


def merge_quarantine(raw_quarantine: pd.DataFrame, unlabelled: pd.DataFrame) -> pd.DataFrame:
    """Put all rows that were set aside into one table."""
    return pd.concat([raw_quarantine, unlabelled], ignore_index=True)


def _describe_slice(rows: pd.DataFrame) -> dict[str, Any]:
    timed = rows["row_time"].notna().any()
    return {
        "rows": len(rows),
        "positives": int(rows["row_target"].sum()),
        "from": str(rows["row_time"].min()) if timed else None,
        "until": str(rows["row_time"].max()) if timed else None,
    }


def account_for_rows(
    raw_inputs: dict[str, Any],
    quarantine: pd.DataFrame,
    model_input: pd.DataFrame,
    table_roles: dict[str, Any],
    **raw_tables: pd.DataFrame,
) -> dict[str, Any]:
    """Account for every row: in = kept + quarantined, for each raw table.

    Args:
        raw_inputs: per raw table what DVC recorded of it.
        quarantine: all rows set aside.
        model_input: the table to learn from.
        table_roles: names the raw table whose rows became rows of ``model_input``.
        raw_tables: the tables as they were read.

    Raises:
        DataContractError: a row is neither kept nor in quarantine.
    """
    rows: dict[str, Any] = {}
    for name, table in raw_tables.items():
        reasons = quarantine.loc[quarantine["table"] == name, "reason"].value_counts()
        counts = {str(reason): int(count) for reason, count in sorted(reasons.items())}
        rows[name] = {"in": len(table), "kept": len(table) - sum(counts.values()), "quarantined": counts}
    main = TableRoles.model_validate(table_roles).table
    if rows[main]["kept"] != len(model_input):
        raise DataContractError(
            f"Rows are lost: {rows[main]['in']} rows of '{main}' came in, {len(model_input)} were kept "
            f"and {rows[main]['in'] - rows[main]['kept']} are in quarantine."
        )
    slices = {name: _describe_slice(model_input[model_input["row_split"] == name]) for name in SPLITS}
    return {"raw_inputs": raw_inputs, "rows": rows, "slices": slices}


def record_data(model_input: pd.DataFrame, run_record: RunRecord) -> dict[str, Any]:
    """Note which run made the table to learn from, so that a model of another run can tell its data's true origin."""
    return DataRecord(model_input_sha256=digest_of_table(model_input), run=run_record).model_dump(mode="json")
