"""Your own table: what is recognised, and what is refused."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_lifecycle import features
from ml_lifecycle.errors import ConfigurationError, DataContractError
from ml_lifecycle.parameters import TableOptions
from ml_lifecycle.pipelines.data_engineering import table as nodes


@pytest.fixture
def customers() -> pd.DataFrame:
    """Six customers with columns of every kind; one has no label."""
    return pd.DataFrame(
        {
            "id": ["c1", "c2", "c3", "c4", "c5", "c6"],
            "seen": ["2013-01-01", "2013-01-02", "2013-01-03", "2013-01-04", "2013-01-05", "2013-01-06"],
            "age": [31, 45, 28, 60, 52, 39],
            "balance": [1.5, np.nan, 0.0, -3.0, 2.0, 8.0],
            "city": ["Bonn", "Lyon", None, "Bonn", "Lyon", "Bonn"],
            "member": [True, False, True, True, False, False],
            "grade": [1, 2, 3, 1, 2, 3],
            "left": ["no", "yes", "no", "no", "yes", None],
        }
    )


def options(**declared: Any) -> TableOptions:
    """Say what is declared of the customers."""
    given = {"target": "left", "task": "binary", "max_categories": 5, "key": "id", "time": "seen"}
    return TableOptions.model_validate(given | declared)


def roles_of(table: pd.DataFrame, **declared: Any) -> dict[str, Any]:
    """Recognise the columns of a table."""
    return nodes.recognise_columns(table, options(**declared))


def test_columns_are_recognised_by_type(customers: pd.DataFrame) -> None:
    """Numbers are numeric, texts and booleans categorical; key, time and target are no features."""
    roles = roles_of(customers)
    assert (["age", "balance", "grade"], ["city", "member"]) == (roles["numeric"], roles["categorical"])


def test_a_declared_role_wins(customers: pd.DataFrame) -> None:
    """Numbers declared categorical are categories, and ignored columns are no features."""
    roles = roles_of(customers, categorical=["grade"], ignore=["age", "city"])
    assert (["balance"], ["grade", "member"]) == (roles["numeric"], roles["categorical"])


def test_rows_are_numbered_without_a_key(customers: pd.DataFrame) -> None:
    """A table without a key column gets row numbers."""
    assert nodes.KEY == roles_of(customers, key=None, ignore=["id"])["key"]


def test_the_rarer_label_is_positive(customers: pd.DataFrame) -> None:
    """Without a declaration the rarer label is the one to find."""
    assert ["no", "yes"] == roles_of(customers)["labels"]


def test_labels_equally_frequent_are_ordered_by_name(customers: pd.DataFrame) -> None:
    """A tie is decided by the alphabet, the same on every machine."""
    customers["left"] = ["b", "a", "b", "a", None, None]
    assert ["a", "b"] == roles_of(customers)["labels"]


def test_a_declared_positive_label_is_honoured(customers: pd.DataFrame) -> None:
    """The declaration decides which label is positive."""
    assert ["yes", "no"] == roles_of(customers, positive_label="no")["labels"]


@pytest.mark.parametrize(
    ("target", "labels"),
    [
        ([0, 1, 0, 0, 1, 0], ["0", "1"]),
        ([0.0, 1.0, 0.0, 0.0, 1.0, np.nan], ["0", "1"]),
        ([True, False, True, True, False, True], ["True", "False"]),
    ],
    ids=["whole numbers", "numbers with a gap", "booleans"],
)
def test_labels_of_any_type_are_texts(target: list[Any], labels: list[str], customers: pd.DataFrame) -> None:
    """Labels are recognised whatever their type, and named by their text."""
    assert labels == roles_of(customers.assign(left=target))["labels"]


def test_a_positive_label_that_does_not_occur_is_refused(customers: pd.DataFrame) -> None:
    """The error lists the labels that do occur."""
    with pytest.raises(ConfigurationError, match=r"table\.positive_label is 'maybe'; the labels are no, yes"):
        roles_of(customers, positive_label="maybe")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (list("abcabc"), r"exactly two labels; got 3 \(a, b, c\)"),
        (list("abcdef"), r"exactly two labels; got 6 \(a, b, c, d, e, …\)"),
        (["no"] * 6, r"exactly two labels; got 1 \(no\)"),
        ([None] * 6, r"exactly two labels; got 0 \(\)"),
    ],
    ids=["three", "six", "one", "none"],
)
def test_a_target_without_exactly_two_labels_is_refused(
    target: list[Any], message: str, customers: pd.DataFrame
) -> None:
    """The error shows how many labels there are, and the first of them."""
    with pytest.raises(DataContractError, match=message):
        roles_of(customers.assign(left=target))


def test_a_text_of_many_values_is_refused_with_the_options(customers: pd.DataFrame) -> None:
    """A column that might be an identifier needs a declared role; the error lists the choices."""
    with pytest.raises(DataContractError, match=r"'id' holds 6 .* table\.categorical, table\.ignore, .* table\.key"):
        roles_of(customers, key=None)


def test_a_text_of_many_values_may_be_declared_categorical(customers: pd.DataFrame) -> None:
    """A declaration lifts the limit."""
    assert "id" in roles_of(customers, key=None, categorical=["id"])["categorical"]


@pytest.mark.parametrize(
    "declared",
    [{"target": "gone"}, {"key": "gone"}, {"time": "gone"}, {"numeric": ["gone"]}, {"ignore": ["gone"]}],
    ids=lambda declared: next(iter(declared)),
)
def test_a_column_that_is_not_there_is_refused(declared: dict[str, Any], customers: pd.DataFrame) -> None:
    """The error names the missing column and those that are there."""
    with pytest.raises(DataContractError, match=r"The table has no column gone\. It has: id, seen, age"):
        roles_of(customers, **declared)


def prepared(table: pd.DataFrame, **declared: Any) -> pd.DataFrame:
    """Recognise and prepare a table."""
    return nodes.prepare_table(table, roles_of(table, **declared), options(**declared))


def test_preparing_brings_key_and_time_into_their_types(customers: pd.DataFrame) -> None:
    """Keys are texts, times are moments, and features keep their values."""
    table = prepared(customers)
    assert ("str", "datetime64[us]") == (str(table["id"].dtype), str(table["seen"].dtype))
    assert pd.Timestamp("2013-01-06") == table["seen"].iloc[-1]
    pd.testing.assert_frame_equal(customers[["age", "balance"]], table[["age", "balance"]])


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (["2013-01-06T10:00:00Z"] * 6, "2013-01-06 10:00"),
        (["2013-01-06T10:00:00+02:00"] * 6, "2013-01-06 08:00"),
        (["2013-01-06T10:00:00"] * 6, "2013-01-06 10:00"),
        (["2013-01-05"] * 5 + ["2013-01-06T10:00:00Z"], "2013-01-06 10:00"),
        ([2013] * 6, "2013-01-01"),
    ],
    ids=["UTC", "with an offset", "without a zone", "dates and times mixed", "years as numbers"],
)
def test_times_are_read_as_iso_8601(seen: list[Any], expected: str, customers: pd.DataFrame) -> None:
    """Every form of ISO 8601 is read, and moments are kept in UTC without a zone."""
    assert pd.Timestamp(expected) == prepared(customers.assign(seen=seen))["seen"].iloc[-1]


def test_row_numbers_are_keys(customers: pd.DataFrame) -> None:
    """Without a key column the row numbers are the keys, as text."""
    assert list("012345") == prepared(customers, key=None, ignore=["id"])[nodes.KEY].tolist()


@pytest.mark.parametrize("key", ["c2", None], ids=["repeated", "missing"])
def test_keys_that_do_not_name_one_row_are_refused(key: str | None, customers: pd.DataFrame) -> None:
    """A key that repeats or is missing is an error that names the column."""
    customers.loc[0, "id"] = key
    with pytest.raises(DataContractError, match=r"The key column 'id' repeats or lacks values in [12] rows"):
        prepared(customers)


@pytest.mark.parametrize("time", ["yesterday", None, "2013-13-01"])
def test_a_time_that_cannot_be_read_is_refused(time: str | None, customers: pd.DataFrame) -> None:
    """The error names the column, how many rows, and the first of them."""
    customers.loc[3, "seen"] = time
    with pytest.raises(DataContractError, match=r"'seen' cannot be read as a time in 1 rows \(first: 3\)"):
        prepared(customers)


def test_a_text_declared_numeric_is_refused(customers: pd.DataFrame) -> None:
    """The error names the column."""
    with pytest.raises(DataContractError, match="Declared numeric but not numbers: city"):
        prepared(customers, numeric=["city"])


def test_rows_with_a_target_are_labelled(customers: pd.DataFrame) -> None:
    """The positive label is 1, the other 0."""
    labels = nodes.label_table(customers, prepared(customers), roles_of(customers))["labels"]
    assert {"c1": 0, "c2": 1, "c3": 0, "c4": 0, "c5": 1} == dict(zip(labels["id"], labels["target"], strict=True))


def test_rows_without_a_target_go_to_quarantine(customers: pd.DataFrame) -> None:
    """A missing target is the reason, and kept and quarantined rows add up."""
    aside = nodes.label_table(customers, prepared(customers), roles_of(customers))["quarantine"]
    assert [(5, nodes.NO_LABEL)] == list(zip(aside["row"], aside["reason"], strict=True))


def test_judged_and_unlabelled_rows_are_scored(customers: pd.DataFrame) -> None:
    """Rows that the model learned from are not scored; all others are."""
    model_input = pd.DataFrame({"row_key": ["c1", "c2", "c3"], "row_split": ["train", "choose", "judge"]})
    requests = nodes.select_requests(prepared(customers), model_input, roles_of(customers))
    assert ["c3", "c4", "c5", "c6"] == requests["id"].tolist()


@pytest.mark.parametrize("gap", [4, np.nan], ids=["complete", "with a gap"])
def test_categories_of_whole_numbers_do_not_depend_on_gaps(gap: float, customers: pd.DataFrame) -> None:
    """A category 1 is the same category whether or not another row lacks a value."""
    table = prepared(customers.assign(grade=[1, 2, 3, 1, 2, gap]), categorical=["grade"])
    categories = features.compute("table", {"grade": table["grade"].to_numpy()}, [], ["grade"])["grade"]
    assert list("12312") == categories[:5].tolist()
