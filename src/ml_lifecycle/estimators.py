"""scikit-learn pipelines: encoding, imputation and estimator in one object."""

import logging
import warnings
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from ml_lifecycle.parameters import (
    EstimatorOptions,
    HistGradientBoostingOptions,
    LogisticRegressionOptions,
    RandomForestOptions,
)

logger = logging.getLogger(__name__)

#: Stands for a missing number in trees: far below every value, so that one split tells it apart.
MISSING = -1e6
STEPS_SHOWN = 10


def _ordinal() -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, dtype=np.float32)


def _tree_columns(numeric: list[str], categorical: list[str]) -> ColumnTransformer:
    """Numbers with a sentinel for missing; categories as their rank, unknown ones as -1."""
    impute = SimpleImputer(strategy="constant", fill_value=MISSING, keep_empty_features=True)
    return ColumnTransformer([("numeric", impute, numeric), ("categorical", _ordinal(), categorical)])


def _linear_columns(numeric: list[str], categorical: list[str]) -> ColumnTransformer:
    """Numbers scaled, missing ones at the median; categories one-hot, unknown ones all zero."""
    numbers = Pipeline(
        [("impute", SimpleImputer(strategy="median", keep_empty_features=True)), ("scale", StandardScaler())]
    )
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
    return ColumnTransformer([("numeric", numbers, numeric), ("categorical", one_hot, categorical)])


def build(options: EstimatorOptions, numeric: list[str], categorical: list[str], seed: int) -> Pipeline:
    """Build the unfitted pipeline for features in the order numeric, categorical."""
    match options:
        case RandomForestOptions():
            columns = _tree_columns(numeric, categorical)
            classifier: BaseEstimator = RandomForestClassifier(**options.model_dump(), random_state=seed)
        case HistGradientBoostingOptions():
            columns = _tree_columns(numeric, categorical)
            classifier = HistGradientBoostingClassifier(**options.model_dump(), early_stopping=False, random_state=seed)
        case LogisticRegressionOptions():
            columns = _linear_columns(numeric, categorical)
            classifier = LogisticRegression(**options.model_dump(), random_state=seed)
    return Pipeline([("columns", columns), ("classifier", classifier)])


def _stages(total: int) -> Iterator[int]:
    """Sizes at which progress is shown: about ten, the last one the total."""
    step = -(-total // STEPS_SHOWN)
    yield from (min(size, total) for size in range(step, total + step, step))


def _fit_in_stages(classifier: BaseEstimator, count: str, noun: str, x: npt.NDArray[np.float32], y: pd.Series) -> None:
    """Grow an ensemble step by step; warm starts draw the same trees as one fit would."""
    total = getattr(classifier, count)
    classifier.set_params(warm_start=True)
    for size in _stages(total):
        classifier.set_params(**{count: size}).fit(x, y)
        logger.info("fit: %d of %d %s", size, total, noun)
    classifier.set_params(warm_start=False)


def fit(pipeline: Pipeline, x: pd.DataFrame, y: pd.Series) -> Pipeline:
    """Fit a new pipeline, reporting progress; the result does not depend on the number of threads.

    Linear algebra runs in one thread, because the order of its sums depends on the threads. The filters of warnings,
    which scikit-learn's threads mix up (`sklearn.utils.parallel._FuncWrapper`), are left as they were.
    """
    columns, classifier = pipeline.named_steps["columns"], pipeline.named_steps["classifier"]
    with threadpool_limits(limits=1, user_api="blas"), warnings.catch_warnings():
        encoded = np.asarray(columns.fit_transform(x), dtype=np.float32)
        if isinstance(classifier, RandomForestClassifier):
            _fit_in_stages(classifier, "n_estimators", "trees", encoded, y)
        elif isinstance(classifier, HistGradientBoostingClassifier):
            _fit_in_stages(classifier, "max_iter", "boosting rounds", encoded, y)
        else:
            classifier.fit(encoded, y)
            logger.info("fit: %d iterations of at most %d", int(classifier.n_iter_[0]), classifier.max_iter)
    return pipeline


def probabilities(fitted: Pipeline, x: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Predict the probability of the positive class, one per row; the filters of warnings are left as they were."""
    with warnings.catch_warnings():
        return np.asarray(fitted.predict_proba(x)[:, 1])
