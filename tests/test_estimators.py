"""Estimators: grown in stages, independent of threads, at ease with gaps and unknown categories."""

import logging
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from ml_lifecycle import estimators
from ml_lifecycle.parameters import EstimatorOptions, ModelOptions
from ml_lifecycle.roles import TableRoles

ALL = ["random_forest", "hist_gradient_boosting", "logistic_regression"]
GROWN = [("random_forest", "n_estimators"), ("hist_gradient_boosting", "max_iter")]


@pytest.fixture(scope="module")
def train(model_input: pd.DataFrame) -> pd.DataFrame:
    """The train slice of the customers."""
    return model_input[model_input["row_split"] == "train"]


@pytest.fixture(scope="module")
def judge(model_input: pd.DataFrame) -> pd.DataFrame:
    """The judge slice, with missing numbers and with jobs that the train slice lacks."""
    return model_input[model_input["row_split"] == "judge"]


def build(options: EstimatorOptions, roles: TableRoles, **changed: Any) -> Pipeline:
    """Build a pipeline with some options changed."""
    return estimators.build(options.model_copy(update=changed), roles.numeric, roles.categorical, seed=1)


@pytest.mark.parametrize(("estimator", "count"), GROWN)
@pytest.mark.parametrize("size", [1, 7, 12, 23])
def test_growing_in_stages_equals_one_fit(
    estimator: str, count: str, size: int, train: pd.DataFrame, table_roles: TableRoles, small_models: ModelOptions
) -> None:
    """An ensemble grown step by step answers, to the last bit, like one fitted at once."""
    options, x = getattr(small_models, estimator), train[table_roles.columns]
    grown = estimators.fit(build(options, table_roles, **{count: size}), x, train["row_target"])
    at_once = build(options, table_roles, **{count: size}).fit(x, train["row_target"])
    np.testing.assert_array_equal(at_once.predict_proba(x), grown.predict_proba(x))


@pytest.mark.parametrize("estimator", ALL)
def test_fitting_twice_gives_the_same_model(
    estimator: str, train: pd.DataFrame, judge: pd.DataFrame, table_roles: TableRoles, small_models: ModelOptions
) -> None:
    """The same rows and the same seed give the same answers."""
    options, columns = getattr(small_models, estimator), table_roles.columns
    one, two = (
        estimators.fit(build(options, table_roles), train[columns], train["row_target"]).predict_proba(judge[columns])
        for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("n_jobs", [2, -1])
def test_the_number_of_threads_does_not_matter(
    n_jobs: int, train: pd.DataFrame, judge: pd.DataFrame, table_roles: TableRoles, small_models: ModelOptions
) -> None:
    """A forest grown by several threads is the forest grown by one."""
    options, columns = small_models.random_forest, table_roles.columns
    one, several = (
        estimators.fit(build(options, table_roles, n_jobs=jobs), train[columns], train["row_target"])
        for jobs in (1, n_jobs)
    )
    trees = [[tree.tree_.threshold.tolist() for tree in fitted.named_steps["classifier"]] for fitted in (one, several)]
    assert trees[0] == trees[1]


def test_threads_leave_the_filters_of_warnings(
    train: pd.DataFrame, table_roles: TableRoles, small_models: ModelOptions
) -> None:
    """What is shown of warnings is the same after fits and predictions by threads, which change the filters."""
    filters, before = warnings.filters, list(warnings.filters)
    for _ in range(10):
        unfitted = build(small_models.random_forest, table_roles, n_jobs=4)
        fitted = estimators.fit(unfitted, train[table_roles.columns], train["row_target"])
        estimators.probabilities(fitted, train[table_roles.columns])
        assert warnings.filters is filters
        assert list(filters) == before


@pytest.mark.parametrize(
    ("size", "steps"), [(3, [1, 2, 3]), (12, [2, 4, 6, 8, 10, 12]), (23, [3, 6, 9, 12, 15, 18, 21, 23])]
)
def test_progress_is_logged(
    size: int, steps: list[int], train: pd.DataFrame, table_roles: TableRoles, small_models: ModelOptions,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """About ten lines say how far the fit is, the last one that it is done."""
    caplog.set_level(logging.INFO, "ml_lifecycle.estimators")
    pipeline = build(small_models.random_forest, table_roles, n_estimators=size)
    estimators.fit(pipeline, train[table_roles.columns], train["row_target"])
    assert [f"fit: {step} of {size} trees" for step in steps] == caplog.messages


def test_a_linear_model_logs_its_iterations(
    train: pd.DataFrame, table_roles: TableRoles, small_models: ModelOptions, caplog: pytest.LogCaptureFixture
) -> None:
    """The line says how many iterations were needed and how many allowed."""
    caplog.set_level(logging.INFO, "ml_lifecycle.estimators")
    pipeline = build(small_models.logistic_regression, table_roles)
    estimators.fit(pipeline, train[table_roles.columns], train["row_target"])
    iterations = int(pipeline.named_steps["classifier"].n_iter_[0])
    assert [f"fit: {iterations} iterations of at most 500"] == caplog.messages


@pytest.mark.parametrize("estimator", ALL)
@pytest.mark.parametrize("strange", [{"balance": np.nan}, {"age": np.nan}, {"job": "astronaut"}, {"job": ""}], ids=str)
def test_gaps_and_unknown_categories_get_an_answer(
    strange: dict[str, Any], estimator: str, train: pd.DataFrame, judge: pd.DataFrame, table_roles: TableRoles,
    small_models: ModelOptions,
) -> None:  # fmt: skip
    """A missing number and a category never seen in training are no errors, and the answer is a probability."""
    columns = table_roles.columns
    fitted = estimators.fit(build(getattr(small_models, estimator), table_roles), train[columns], train["row_target"])
    answers = fitted.predict_proba(judge[columns].assign(**strange).astype(judge[columns].dtypes.to_dict()))[:, 1]
    assert ((answers >= 0) & (answers <= 1)).all()


@pytest.mark.parametrize("estimator", ALL)
def test_every_estimator_learns(
    estimator: str, train: pd.DataFrame, judge: pd.DataFrame, table_roles: TableRoles, small_models: ModelOptions
) -> None:
    """On rows of another slice the answers rank those who left above those who stayed."""
    columns = table_roles.columns
    fitted = estimators.fit(build(getattr(small_models, estimator), table_roles), train[columns], train["row_target"])
    answers = pd.Series(fitted.predict_proba(judge[columns])[:, 1], index=judge.index)
    means = answers.groupby(judge["row_target"]).mean()
    assert means[1] > means[0] + 0.1


@pytest.mark.parametrize("estimator", ALL)
def test_the_fit_leaves_its_rows_alone(
    estimator: str, train: pd.DataFrame, table_roles: TableRoles, small_models: ModelOptions
) -> None:
    """Fitting changes neither features nor labels."""
    x, y = train[table_roles.columns].copy(), train["row_target"].copy()
    estimators.fit(build(getattr(small_models, estimator), table_roles), x, y)
    pd.testing.assert_frame_equal(train[table_roles.columns], x)
    pd.testing.assert_series_equal(train["row_target"], y)
