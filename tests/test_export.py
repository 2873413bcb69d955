"""The export to ONNX: the same answers, and the same bytes every time."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from ml_lifecycle import estimators, export
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.parameters import ModelOptions
from ml_lifecycle.roles import TableRoles

ALL = ["random_forest", "hist_gradient_boosting", "logistic_regression"]

DIGESTS = """
import sys
import pandas as pd
from ml_lifecycle import estimators, export
from ml_lifecycle.parameters import ModelOptions
from ml_lifecycle.roles import TableRoles

table, models, roles = pd.read_parquet(sys.argv[1]), sys.argv[2], TableRoles.model_validate_json(sys.argv[3])
models = ModelOptions.model_validate_json(models)
for options in (models.random_forest, models.hist_gradient_boosting, models.logistic_regression):
    pipeline = estimators.build(options, roles.numeric, roles.categorical, seed=1)
    fitted = estimators.fit(pipeline, table[roles.columns], table["row_target"])
    print(export.seal(export.convert(fitted, roles), roles, threshold=0.5).digest)
"""


def features_of(rows: pd.DataFrame, roles: TableRoles) -> dict[str, Any]:
    """Take the features of rows as a model takes them."""
    texts = {name: rows[name].to_numpy(dtype=object) for name in roles.categorical}
    return {name: rows[name].to_numpy() for name in roles.numeric} | texts


def fit(estimator: str, table: pd.DataFrame, roles: TableRoles, models: ModelOptions) -> Pipeline:
    """Fit an estimator on the train slice."""
    train = table[table["row_split"] == "train"]
    pipeline = estimators.build(getattr(models, estimator), roles.numeric, roles.categorical, seed=1)
    return estimators.fit(pipeline, train[roles.columns], train["row_target"])


@pytest.fixture(scope="module")
def fitted(model_input: pd.DataFrame, table_roles: TableRoles, small_models: ModelOptions) -> dict[str, Pipeline]:
    """All three estimators, fitted."""
    return {name: fit(name, model_input, table_roles, small_models) for name in ALL}


@pytest.fixture(scope="module")
def converted(fitted: dict[str, Pipeline], table_roles: TableRoles) -> dict[str, onnx.ModelProto]:
    """All three estimators, converted."""
    return {name: export.convert(pipeline, table_roles) for name, pipeline in fitted.items()}


@pytest.fixture(scope="module")
def strange_rows(model_input: pd.DataFrame) -> pd.DataFrame:
    """All nine hundred rows, with more gaps and more unknown categories than they had."""
    rows = model_input.copy()
    rows.loc[::7, "age"] = np.nan
    rows.loc[::11, "job"] = "astronaut"
    rows.loc[::13, "city"] = ""
    return rows


@pytest.mark.parametrize("estimator", ALL)
def test_onnx_answers_like_scikit_learn(
    estimator: str, fitted: dict[str, Pipeline], converted: dict[str, onnx.ModelProto], strange_rows: pd.DataFrame,
    table_roles: TableRoles,
) -> None:  # fmt: skip
    """On 900 rows with missing numbers and unknown categories no answer differs by more than 1e-5."""
    answers = export.seal(converted[estimator], table_roles, 0.5).predict(features_of(strange_rows, table_roles))
    expected = fitted[estimator].predict_proba(strange_rows[table_roles.columns])[:, 1]
    np.testing.assert_allclose(answers, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("estimator", ALL)
@pytest.mark.parametrize("columns", [["age", "balance"], ["job", "city"]], ids=["numbers only", "categories only"])
def test_a_table_of_one_kind_of_columns_can_be_exported(
    columns: list[str], estimator: str, model_input: pd.DataFrame, table_roles: TableRoles, small_models: ModelOptions
) -> None:
    """Numbers without categories, and categories without numbers, make a model."""
    kept = {
        kind: [name for name in getattr(table_roles, kind) if name in columns] for kind in ("numeric", "categorical")
    }
    roles = table_roles.model_copy(update=kept | {"baselines": {}})
    pipeline = fit(estimator, model_input, roles, small_models)
    answers = export.seal(export.convert(pipeline, roles), roles, 0.5).predict(features_of(model_input, roles))
    np.testing.assert_allclose(answers, pipeline.predict_proba(model_input[roles.columns])[:, 1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("estimator", ALL)
def test_a_number_that_was_never_there_in_training_can_be_exported(
    estimator: str, model_input: pd.DataFrame, table_roles: TableRoles, small_models: ModelOptions
) -> None:
    """A column that is empty in the train slice neither stops the fit nor the export."""
    table = model_input.assign(balance=np.float32(np.nan))
    pipeline = fit(estimator, table, table_roles, small_models)
    answers = export.seal(export.convert(pipeline, table_roles), table_roles, 0.5).predict(
        features_of(table, table_roles)
    )
    np.testing.assert_allclose(answers, pipeline.predict_proba(table[table_roles.columns])[:, 1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("estimator", ALL)
def test_the_graph_has_an_input_per_feature_and_one_output(
    estimator: str, converted: dict[str, onnx.ModelProto], table_roles: TableRoles
) -> None:
    """Inputs are the features in their order, the output is the probability."""
    graph = converted[estimator].graph
    names = ([entry.name for entry in graph.input], [entry.name for entry in graph.output])
    assert (table_roles.columns, ["probability"]) == names


@pytest.mark.parametrize("estimator", ALL)
def test_the_graph_is_valid(estimator: str, converted: dict[str, onnx.ModelProto]) -> None:
    """The checker of onnx accepts the graph, nodes in order included."""
    onnx.checker.check_model(converted[estimator], full_check=True)


def shuffled(proto: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """Shuffle every list whose order means nothing; seed 0 turns each around."""
    random = np.random.default_rng(seed)
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    graph = model.graph
    fields = [model.opset_import, model.metadata_props, graph.initializer, graph.value_info, graph.node]
    for field in [*fields, *(node.attribute for node in graph.node)]:
        order = random.permutation(len(field)) if seed else reversed(range(len(field)))
        items = [field[int(position)] for position in order]
        copies = [type(item).FromString(item.SerializeToString()) for item in items]
        del field[:]
        field.extend(copies)
    return model


@pytest.mark.parametrize("estimator", ALL)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_canonical_form_does_not_depend_on_the_order_of_lists(
    seed: int, estimator: str, converted: dict[str, onnx.ModelProto]
) -> None:
    """Opsets, initialisers, attributes and nodes in any order give the same bytes."""
    expected = converted[estimator].SerializeToString(deterministic=True)
    assert expected == export.canonical(shuffled(converted[estimator], seed)).SerializeToString(deterministic=True)


@pytest.mark.parametrize("estimator", ALL)
def test_the_canonical_form_is_its_own(estimator: str, converted: dict[str, onnx.ModelProto]) -> None:
    """Bringing a model into canonical form twice changes nothing, and the given model stays as it was."""
    mixed = shuffled(converted[estimator], 3)
    before = mixed.SerializeToString(deterministic=True)
    once = export.canonical(mixed)
    assert once == export.canonical(once)
    assert before == mixed.SerializeToString(deterministic=True)


def test_the_bytes_do_not_depend_on_the_hash_seed(
    tmp_path: Path, model_input: pd.DataFrame, table_roles: TableRoles, small_models: ModelOptions
) -> None:
    """Three processes with different hash seeds export the same three files, byte for byte."""
    table = tmp_path / "table.parquet"
    model_input.head(200).to_parquet(table)
    command = [sys.executable, "-c", DIGESTS, table, small_models.model_dump_json(), table_roles.model_dump_json()]
    printed = {
        subprocess.run(
            command, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in "012"
    }
    assert [3] == [len(set(digests.split())) for digests in printed]


def test_the_threshold_is_part_of_the_identity(converted: dict[str, onnx.ModelProto], table_roles: TableRoles) -> None:
    """Another threshold is another model; the same threshold is the same one."""
    digests = [export.seal(converted["random_forest"], table_roles, value).digest for value in (0.25, 0.25, 0.3)]
    assert (True, False) == (digests[0] == digests[1], digests[1] == digests[2])


def test_the_roles_are_part_of_the_identity(converted: dict[str, onnx.ModelProto], table_roles: TableRoles) -> None:
    """Other labels make another model."""
    other = table_roles.model_copy(update={"labels": ("stays", "goes")})
    assert (
        export.seal(converted["random_forest"], table_roles, 0.5).digest
        != export.seal(converted["random_forest"], other, 0.5).digest
    )


@pytest.mark.parametrize("threshold", [0.1, 1 / 3, float(np.float32(0.7)), 0.0, 1.0])
def test_the_threshold_survives_to_the_last_bit(
    threshold: float, converted: dict[str, onnx.ModelProto], table_roles: TableRoles
) -> None:
    """The threshold read from the file is the one written."""
    assert threshold == export.seal(converted["random_forest"], table_roles, threshold).threshold


def test_sealing_leaves_the_converted_model_as_it_was(
    converted: dict[str, onnx.ModelProto], table_roles: TableRoles
) -> None:
    """Sealing again replaces the notes of an earlier seal."""
    once = export.seal(converted["random_forest"], table_roles, 0.1)
    again = export.seal(once.proto, table_roles, 0.2)
    assert (0, 0.1, 0.2) == (len(converted["random_forest"].metadata_props), once.threshold, again.threshold)


@pytest.fixture(scope="module")
def answers(fitted: dict[str, Pipeline], model_input: pd.DataFrame, table_roles: TableRoles) -> Any:
    """What the fitted forest answers, of which one answer is off by 0.001."""
    answers = fitted["random_forest"].predict_proba(model_input[table_roles.columns])[:, 1].astype(np.float32)
    answers[17] += np.float32(0.001)
    return answers


def test_a_difference_within_the_tolerance_is_reported(
    answers: Any, fitted: dict[str, Pipeline], model_input: pd.DataFrame, table_roles: TableRoles
) -> None:
    """The report says how many rows were compared, the largest difference, and how many are noteworthy."""
    report = export.compare(fitted["random_forest"], answers, model_input[table_roles.columns], tolerance=0.01)
    expected = {"rows": 900, "largest_difference": 0.001, "above_1e-5": 1, "tolerance": 0.01}
    assert expected == pytest.approx(report, rel=1e-3)


def test_a_difference_above_the_tolerance_is_refused(
    answers: Any, fitted: dict[str, Pipeline], model_input: pd.DataFrame, table_roles: TableRoles
) -> None:
    """The error names the difference, the rows and the tolerance, and says that nothing was registered."""
    message = (
        r"differs .* by up to 0\.001 \(1 of 900 rows .*; export\.tolerance allows 0\.0005\. Nothing was registered"
    )
    with pytest.raises(export.ExportError, match=message):
        export.compare(fitted["random_forest"], answers, model_input[table_roles.columns], tolerance=0.0005)


def test_a_model_that_answers_nothing_is_refused(
    answers: Any, fitted: dict[str, Pipeline], model_input: pd.DataFrame, table_roles: TableRoles
) -> None:
    """An answer that is not a number is a difference above every tolerance."""
    broken = answers.copy()
    broken[3] = np.nan
    with pytest.raises(export.ExportError, match="Nothing was registered"):
        export.compare(fitted["random_forest"], broken, model_input[table_roles.columns], tolerance=1.0)


def test_the_model_file_loads_from_disk(tmp_path: Path, onnx_model: OnnxModel) -> None:
    """The bytes are an ONNX file that onnx itself reads and finds valid."""
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_model.content)
    onnx.checker.check_model(str(path))
    assert onnx_model.proto == onnx.load(path)
