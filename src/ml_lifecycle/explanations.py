"""Kedro's validation errors in the words of the person who has to act on them."""

import re

import pandas as pd
from kedro.validation import DataValidationError, ParameterValidationError

FIRST_ROWS = 5
_PREFIX = re.compile(r"Failed to instantiate \w+ for parameter '[^']+': ")
_COUNT = re.compile(r"\d+ validation errors? for \w+\n\s*")
_ADDRESS = re.compile(r"\n\s*For further information visit \S+")
_GIVEN_IN_TEXT = re.compile(r" ?\[type=value_error, .*?, input_type=\w+\]|Value error, ", re.DOTALL)
_GIVEN = re.compile(r"\[type=\w+, input_value=(.*?), input_type=\w+\]", re.DOTALL)


def explain_parameters(error: ParameterValidationError) -> str:
    """Keep what is wrong and what is allowed; drop class names and addresses."""
    text = str(error).removeprefix("Parameter validation failed:\n")
    for noise in (_PREFIX, _COUNT, _ADDRESS, _GIVEN_IN_TEXT):
        text = noise.sub("", text)
    text = _GIVEN.sub(r"(got \1)", text)
    return " ".join(line.removeprefix("- ").strip() for line in text.splitlines())


def _cases(name: str, check: str, cases: pd.DataFrame) -> str:
    rows = cases["index"].notna()
    shown = [
        f"row {row}: {value}" if known else str(value)
        for row, value, known in zip(cases["index"], cases["failure_case"], rows, strict=True)
    ]
    more = ", …" if len(shown) > FIRST_ROWS else ""
    return f"  column '{name}', {check}: {len(cases)} cases ({', '.join(shown[:FIRST_ROWS])}{more})"


def explain_contract(error: DataValidationError) -> str:
    """Name the table, and for each broken check its column, the number of cases and the first rows."""
    found = getattr(error.__cause__, "failure_cases", None)
    if not isinstance(found, pd.DataFrame):
        return str(error)
    groups = found.groupby(["column", "check"], sort=False, dropna=False)
    lines = [_cases(str(column), str(check), cases) for (column, check), cases in groups]
    head = f"The table '{error.dataset_name}' breaks its contract {error.validator} in {len(lines)} checks."
    return "\n".join([head, *lines, "Nothing was written. Correct the table, or change the contract if it is wrong."])
