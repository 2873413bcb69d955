"""Nodes for your own table: a CSV with a target column becomes labelled requests."""

from typing import Any

import numpy as np
import pandas as pd

from ml_lifecycle.errors import ConfigurationError, DataContractError
from ml_lifecycle.features import as_categories
from ml_lifecycle.parameters import TableOptions
from ml_lifecycle.quarantine import set_aside
from ml_lifecycle.roles import TableRoles

NO_LABEL = "no label: the target is missing"
TABLE = "table"
KEY = "row_number"


def _require_columns(table: pd.DataFrame, options: TableOptions) -> None:
    named = [options.target, options.key, options.time, *options.numeric, *options.categorical, *options.ignore]
    missing = sorted({name for name in named if name is not None} - set(table.columns))
    if missing:
        raise DataContractError(
            f"The table has no column {', '.join(missing)}. It has: {', '.join(table.columns)}. "
            "Correct the names under 'table' in conf/tabular/parameters.yml."
        )


def _labels(target: pd.Series, options: TableOptions) -> tuple[str, str]:
    """The two labels as text: negative, positive. Without a declaration the rarer one is positive."""
    counts = pd.Series(as_categories(target.dropna().to_numpy())).value_counts()
    if len(counts) != 2:  # noqa: PLR2004 - binary
        shown = ", ".join(list(counts.index[:5]))
        raise DataContractError(
            f"The target '{options.target}' must have exactly two labels; got {len(counts)} ({shown}"
            f"{', …' if len(counts) > 5 else ''}). Multi-class targets and regression are not supported yet."  # noqa: PLR2004
        )
    labels = sorted(counts.index, key=lambda label: (-counts[label], label))
    positive = options.positive_label or labels[-1]
    if positive not in labels:
        raise ConfigurationError(f"table.positive_label is '{positive}'; the labels are {labels[0]}, {labels[1]}.")
    negative = next(label for label in labels if label != positive)
    return negative, positive


def recognise_columns(table: pd.DataFrame, options: TableOptions) -> dict[str, Any]:
    """Give every column a role: declared ones as declared, the others by their type.

    Numbers are numeric; text and booleans are categorical.

    Raises:
        DataContractError: a named column is missing, the target has not two labels, or a text
            column has more than ``max_categories`` values and no declared role.
    """
    _require_columns(table, options)
    declared = {options.target, options.key, options.time, *options.ignore, *options.numeric, *options.categorical}
    numeric, categorical = list(options.numeric), list(options.categorical)
    for name, column in table.items():
        if name in declared:
            continue
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            numeric.append(str(name))
            continue
        if column.nunique() > options.max_categories:
            raise DataContractError(
                f"Column '{name}' holds {column.nunique()} different texts, more than table.max_categories "
                f"({options.max_categories}): a category, an identifier or free text? "
                "List it under table.categorical, table.ignore, or name it as table.key or table.time."
            )
        categorical.append(str(name))
    roles = TableRoles(
        table=TABLE,
        feature_set="table",
        key=options.key or KEY,
        time=options.time,
        target=options.target,
        labels=_labels(table[options.target], options),
        numeric=numeric,
        categorical=categorical,
        baselines={},
    )
    return roles.model_dump(mode="json")


def _parse_time(table: pd.DataFrame, time: str) -> pd.Series:
    texts = table[time].astype("str")  # a bare number is not a time
    parsed = pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True).dt.tz_localize(None).dt.as_unit("us")
    if parsed.isna().any():
        rows = ", ".join(map(str, table.index[parsed.isna()][:5]))
        raise DataContractError(
            f"Column '{time}' cannot be read as a time in {int(parsed.isna().sum())} rows (first: {rows}). "
            "Use ISO 8601, such as 2013-10-01 or 2013-10-01T17:30:00Z."
        )
    return parsed


def _keys(table: pd.DataFrame, options: TableOptions) -> pd.Series:
    keys = table[options.key] if options.key else pd.Series(table.index, index=table.index)
    repeated = keys[keys.duplicated(keep=False) | keys.isna()]
    if len(repeated):
        raise DataContractError(
            f"The key column '{options.key}' repeats or lacks values in {len(repeated)} rows "
            f"(first: {', '.join(map(str, repeated[:5]))}). Each row needs a key of its own; "
            "leave table.key empty to number the rows."
        )
    return keys.astype(str).astype("str")


def _require_numbers(table: pd.DataFrame, numeric: list[str]) -> None:
    texts = [name for name in numeric if not pd.api.types.is_numeric_dtype(table[name])]
    if texts:
        raise DataContractError(
            f"Declared numeric but not numbers: {', '.join(texts)}. "
            "Clean the column, or list it under table.categorical."
        )


def prepare_table(table: pd.DataFrame, table_roles: dict[str, Any], options: TableOptions) -> pd.DataFrame:
    """Bring key and time into their types; features keep their values, rows their numbers."""
    roles = TableRoles.model_validate(table_roles)
    _require_numbers(table, roles.numeric)
    columns = {roles.key: _keys(table, options)}
    if roles.time:
        columns[roles.time] = _parse_time(table, roles.time)
    return pd.DataFrame(columns | {name: table[name] for name in roles.columns})


def label_table(table: pd.DataFrame, prepared: pd.DataFrame, table_roles: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """Label each row 1 where the target is the positive label; rows without a target go to quarantine."""
    roles = TableRoles.model_validate(table_roles)
    target = table[roles.target]
    labelled = target.notna()
    positive = as_categories(target[labelled].to_numpy()) == roles.labels[1]
    labels = pd.DataFrame({roles.key: prepared.loc[labelled, roles.key], "target": positive.astype(np.int8)})
    reasons = pd.Series(NO_LABEL, index=table.index[~labelled], dtype="str")
    return {"labels": labels, "quarantine": set_aside(roles.table, table, reasons)}


def select_requests(prepared: pd.DataFrame, model_input: pd.DataFrame, table_roles: dict[str, Any]) -> pd.DataFrame:
    """Select the rows to score: the judge slice, and the rows without a label."""
    roles = TableRoles.model_validate(table_roles)
    learned_from = model_input.loc[model_input["row_split"] != "judge", "row_key"]
    return prepared[~prepared[roles.key].isin(learned_from)].reset_index(drop=True)
