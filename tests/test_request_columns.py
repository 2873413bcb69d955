"""The one declaration of a request's columns."""

import pytest

from ml_lifecycle.request_columns import FLIGHT_REQUEST, RequestColumn

every_column = pytest.mark.parametrize("column", FLIGHT_REQUEST, ids=lambda column: column.name)


def test_no_column_is_declared_twice() -> None:
    """A name stands for one column."""
    names = [column.name for column in FLIGHT_REQUEST]
    assert sorted(set(names)) == sorted(names)


@every_column
def test_says_its_unit_or_meaning(column: RequestColumn) -> None:
    """Whoever asks learns what to write into a column."""
    assert column.about.strip()


@every_column
def test_rules_fit_the_kind(column: RequestColumn) -> None:
    """Only numbers have a smallest value and only moments a time zone; an integer column has no gaps."""
    assert column.minimum is None or column.kind in {"number", "whole"}
    assert column.time_zone is None or column.kind == "moment"
    assert not (column.nullable and column.kind == "whole")
