"""A model file that describes itself."""

import copy
import hashlib
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_lifecycle.onnx_model import ROLES, THRESHOLD, OnnxModel
from ml_lifecycle.roles import TableRoles


@pytest.fixture
def columns(model_input: pd.DataFrame, table_roles: TableRoles) -> dict[str, Any]:
    """The features of five customers, in another order than the model's, with one column too many."""
    rows = model_input.head(5)
    texts = {name: rows[name].to_numpy(dtype=object) for name in table_roles.categorical}
    return (
        {"row_key": rows["row_key"].to_numpy()} | texts | {name: rows[name].to_numpy() for name in ("balance", "age")}
    )


def test_the_digest_is_that_of_the_file(onnx_model: OnnxModel) -> None:
    """The identity of a model is the SHA-256 that any tool computes of its file."""
    assert hashlib.sha256(onnx_model.content).hexdigest() == onnx_model.digest


def test_roles_and_threshold_are_in_the_bytes(onnx_model: OnnxModel, table_roles: TableRoles) -> None:
    """A model read from its bytes alone knows its roles and its threshold."""
    read = OnnxModel(bytes(onnx_model.content))
    assert (table_roles, 0.4) == (read.roles, read.threshold)


def test_one_probability_per_row(onnx_model: OnnxModel, columns: dict[str, Any]) -> None:
    """Answers are a vector of float32, one for each row."""
    answers = onnx_model.predict(columns)
    assert ("float32", (5,)) == (str(answers.dtype), answers.shape)


def test_columns_are_found_by_name(onnx_model: OnnxModel, columns: dict[str, Any]) -> None:
    """The order of the columns does not matter, nor does a column that is no feature."""
    turned = dict(reversed(list(columns.items())))
    np.testing.assert_array_equal(onnx_model.predict(columns), onnx_model.predict(turned))


def test_a_row_is_answered_alike_alone_and_among_others(onnx_model: OnnxModel, columns: dict[str, Any]) -> None:
    """The answer to a row does not depend on its neighbours, to the last bit."""
    alone = [onnx_model.predict({name: values[[row]] for name, values in columns.items()})[0] for row in range(5)]
    assert onnx_model.predict(columns).tolist() == [float(answer) for answer in alone]


def test_no_rows_no_answers(onnx_model: OnnxModel, columns: dict[str, Any]) -> None:
    """An empty table gets an empty answer."""
    assert [] == onnx_model.predict({name: values[:0] for name, values in columns.items()}).tolist()


def test_a_missing_feature_is_named(onnx_model: OnnxModel, columns: dict[str, Any]) -> None:
    """A column that the model needs and does not get is an error that names it."""
    del columns["age"]
    with pytest.raises(KeyError, match="age"):
        onnx_model.predict(columns)


def test_models_of_the_same_bytes_are_equal(onnx_model: OnnxModel) -> None:
    """Equality is equality of the bytes."""
    assert onnx_model == OnnxModel(bytes(onnx_model.content))


def test_a_model_does_not_print_its_bytes(onnx_model: OnnxModel) -> None:
    """A model in a log line is short."""
    assert "OnnxModel()" == repr(onnx_model)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_model_that_has_answered_survives_copying(
    onnx_model: OnnxModel, columns: dict[str, Any], copied: Callable[[OnnxModel], OnnxModel]
) -> None:
    """A copy, also one handed to another process, is the same model and answers alike."""
    answers = onnx_model.predict(columns)
    other = copied(onnx_model)
    assert (onnx_model, onnx_model.digest, onnx_model.roles) == (other, other.digest, other.roles)
    np.testing.assert_array_equal(answers, other.predict(columns))


def test_what_is_read_is_what_stands_in_the_graph(onnx_model: OnnxModel) -> None:
    """Roles and threshold as ONNX Runtime reads them are those that the library onnx reads."""
    notes = {entry.key: entry.value for entry in onnx_model.proto.metadata_props}
    assert TableRoles.model_validate_json(notes[ROLES]) == onnx_model.roles
    assert float(notes[THRESHOLD]) == onnx_model.threshold
