"""The space in which options are searched, one for each estimator."""

import optuna

from ml_lifecycle.parameters import (
    EstimatorOptions,
    HistGradientBoostingOptions,
    LogisticRegressionOptions,
    RandomForestOptions,
)


def suggest(trial: optuna.Trial, given: EstimatorOptions) -> EstimatorOptions:
    """Draw a candidate around the given options; what is not searched stays as given."""
    match given:
        case RandomForestOptions():
            drawn: dict[str, float | int | str] = {
                "min_samples_leaf": trial.suggest_int("min_samples_leaf", 5, 200, log=True),
                "max_features": trial.suggest_float("max_features", 0.05, 0.5),
            }
        case HistGradientBoostingOptions():
            drawn = {
                "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
                "max_leaf_nodes": trial.suggest_int("max_leaf_nodes", 7, 63),
                "min_samples_leaf": trial.suggest_int("min_samples_leaf", 10, 500, log=True),
                "l2_regularization": trial.suggest_float("l2_regularization", 0.0, 10.0),
            }
        case LogisticRegressionOptions():
            drawn = {"C": trial.suggest_float("C", 1e-3, 1e2, log=True)}
    return given.model_copy(update=drawn)
