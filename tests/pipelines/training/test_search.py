"""The space in which options are searched."""

from typing import Any

import optuna
import pytest

from ml_lifecycle.parameters import ModelOptions
from ml_lifecycle.pipelines.training.search import suggest

DRAWN: dict[str, dict[str, Any]] = {
    "random_forest": {"min_samples_leaf": 20, "max_features": 0.25},
    "hist_gradient_boosting": {
        "learning_rate": 0.2,
        "max_leaf_nodes": 40,
        "min_samples_leaf": 100,
        "l2_regularization": 3.0,
    },
    "logistic_regression": {"C": 0.5},
}


@pytest.mark.parametrize("estimator", DRAWN)
def test_a_candidate_takes_what_was_drawn_and_keeps_the_rest(estimator: str, small_models: ModelOptions) -> None:
    """Searched options are the drawn ones; all others stay as given."""
    given = getattr(small_models, estimator)
    candidate = suggest(optuna.trial.FixedTrial(DRAWN[estimator]), given)
    assert given.model_dump() | DRAWN[estimator] == candidate.model_dump()


@pytest.mark.parametrize("estimator", DRAWN)
def test_every_candidate_is_allowed(estimator: str, small_models: ModelOptions) -> None:
    """Whatever is drawn passes the check that parameters pass."""
    given = getattr(small_models, estimator)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    candidates = [suggest(study.ask(), given) for _ in range(30)]
    assert candidates == [type(given).model_validate(candidate.model_dump()) for candidate in candidates]


@pytest.mark.parametrize("estimator", DRAWN)
def test_the_given_options_stay_as_they_are(estimator: str, small_models: ModelOptions) -> None:
    """Drawing a candidate does not change what it was drawn around."""
    given = getattr(small_models, estimator)
    before = given.model_dump()
    suggest(optuna.trial.FixedTrial(DRAWN[estimator]), given)
    assert before == given.model_dump()
