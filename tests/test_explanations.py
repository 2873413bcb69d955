"""Errors of Kedro's validation, in words."""

import pandas as pd
import pytest
from kedro.validation import DataValidationError, PanderaValidator, ParameterValidationError
from pydantic import ValidationError

from ml_lifecycle.explanations import explain_contract, explain_parameters
from ml_lifecycle.parameters import SearchOptions
from ml_lifecycle.schemas import Airlines


def refused(**options: object) -> ParameterValidationError:
    """Kedro's error for search options that pydantic refuses."""
    with pytest.raises(ValidationError) as caught:
        SearchOptions.model_validate(options)
    text = f"Failed to instantiate SearchOptions for parameter 'search': {caught.value}"
    return ParameterValidationError(f"Parameter validation failed:\n- Parameter 'search': {text}")


def broken(table: pd.DataFrame) -> DataValidationError:
    """Kedro's error for an airlines table that breaks its contract."""
    with pytest.raises(DataValidationError) as caught:
        PanderaValidator(Airlines).validate(table)
    caught.value.dataset_name = "airlines"
    return caught.value


def test_a_refused_value_is_named_with_what_is_allowed() -> None:
    """One line says which parameter, what is allowed and what was got, and nothing of pydantic."""
    expected = "Parameter 'search': n_trials Input should be greater than or equal to 0 (got -1)"
    assert expected == explain_parameters(refused(n_trials=-1, metric="brier"))


def test_a_misspelt_key_is_named_with_the_allowed_ones() -> None:
    """A key that does not exist is answered with the nearest one and with all."""
    expected = "Parameter 'search': unknown key 'n_trial'. Did you mean 'n_trials'? Allowed: metric, n_trials."
    assert expected == explain_parameters(refused(n_trial=1, metric="brier"))


def test_a_broken_contract_names_table_column_check_count_and_rows() -> None:
    """Each broken check has its column, its number of cases and its first rows."""
    table = pd.DataFrame({"carrier": ["AA", "UA", "AA"], "name": ["American", "United", "American"]})
    explained = explain_contract(broken(table)).splitlines()
    assert "The table 'airlines' breaks its contract ml_lifecycle.schemas.Airlines in 1 checks." == explained[0]
    assert "  column 'carrier', field_uniqueness: 2 cases (row 0: AA, row 2: AA)" == explained[1]


def test_only_the_first_rows_are_shown() -> None:
    """Of many cases the first five are shown, and that there are more."""
    table = pd.DataFrame({"carrier": ["AA"] * 7, "name": ["American"] * 7})
    line = explain_contract(broken(table)).splitlines()[1]
    assert "7 cases" in line
    assert line.endswith("row 4: AA, …)")


def test_a_missing_column_is_named() -> None:
    """A failure that belongs to no row names what is missing."""
    line = explain_contract(broken(pd.DataFrame({"carrier": ["AA"]}))).splitlines()[1]
    assert line.endswith("column_in_dataframe: 1 cases (name)")


def test_another_failure_keeps_its_words() -> None:
    """An error without pandera's cases is passed on as Kedro words it."""
    error = DataValidationError("roles do not fit", dataset_name="table_roles")
    assert str(error) == explain_contract(error)
