"""Roles of columns."""

from typing import Any

import pytest
from pydantic import ValidationError

from ml_lifecycle.roles import TableRoles, validate


def test_columns_are_the_numeric_then_the_categorical_ones(table_roles: TableRoles) -> None:
    """The order of the features is the order of the model's inputs."""
    assert ["age", "balance", "job", "city"] == table_roles.columns


def test_roles_survive_json(table_roles: TableRoles) -> None:
    """Roles read from JSON equal the roles written."""
    assert table_roles == TableRoles.model_validate_json(table_roles.model_dump_json())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"numeric": [], "categorical": [], "baselines": {}}, "no feature columns"),
        ({"baselines": {"wrong": ["shoe_size", "age"]}}, "baseline columns are not features: shoe_size"),
        ({"labels": ["stays"]}, "labels"),
        ({"colour": "red"}, "colour"),
        ({"target": None}, "target"),
    ],
    ids=["no features", "foreign baseline", "one label", "unknown key", "no target"],
)
def test_roles_that_do_not_fit_together_are_refused(
    change: dict[str, Any], message: str, table_roles: TableRoles
) -> None:
    """Each contradiction is refused with a message that names it."""
    with pytest.raises(ValidationError, match=message):
        validate(table_roles.model_dump(mode="json") | change)


def test_good_roles_pass_the_catalog(table_roles: TableRoles) -> None:
    """The catalog's validator leaves the roles as they are."""
    written = table_roles.model_dump(mode="json")
    validate(written)
    assert table_roles.model_dump(mode="json") == written
