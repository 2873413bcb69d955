"""Nothing disappears: rows that break a rule are set aside with the reason."""

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

COLUMNS = ["table", "row", "reason", "record"]


def _reasons(failures: pd.DataFrame) -> pd.Series:
    """Join the reasons of each row, in one text, from pandera's table of failure cases."""
    of_column = failures["schema_context"] == "Column"
    named = failures["check"].where(~of_column, failures["column"] + ": " + failures["check"])
    pairs = pd.DataFrame({"row": failures["index"].astype("int64"), "reason": named})
    return pairs.drop_duplicates().groupby("row")["reason"].agg(lambda names: "; ".join(sorted(names)))


def set_aside(name: str, table: pd.DataFrame, reasons: pd.Series) -> pd.DataFrame:
    """Make quarantine rows.

    Args:
        name: the table the rows come from.
        table: rows numbered from 0.
        reasons: a text for each row set aside, indexed by row number.
    """
    rows = table.loc[reasons.index]
    lines = rows.to_json(orient="records", lines=True, date_format="iso").splitlines()
    records = [line for line in lines if line]  # an empty table is one empty line
    return pd.DataFrame(
        {
            "table": pd.Series(name, index=range(len(rows)), dtype="str"),
            "row": reasons.index.astype("int64"),
            "reason": pd.Series(reasons.to_list(), dtype="str"),
            "record": pd.Series(records, dtype="str"),
        }
    )


def screen(name: str, table: pd.DataFrame, rules: type[pa.DataFrameModel]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split a table into the rows that fulfil the rules and quarantine rows.

    Both keep the row numbers of ``table``, which count from 0.
    """
    try:
        rules.validate(table, lazy=True)
    except SchemaErrors as errors:
        reasons = _reasons(errors.failure_cases)
        return table.drop(index=reasons.index), set_aside(name, table, reasons)
    return table, set_aside(name, table, pd.Series(dtype="str"))
