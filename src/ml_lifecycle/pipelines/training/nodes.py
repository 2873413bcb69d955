"""Nodes of training: search, fit, export, decide, score."""

import logging
from typing import Any

import numpy as np
import onnx
import optuna
import pandas as pd
from sklearn.pipeline import Pipeline

from ml_lifecycle import estimators, export, metrics
from ml_lifecycle.errors import ConfigurationError
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.parameters import (
    EstimatorOptions,
    EvaluationOptions,
    ExportOptions,
    HistGradientBoostingOptions,
    ModelOptions,
    SearchOptions,
)
from ml_lifecycle.roles import TableRoles

from .search import suggest

logger = logging.getLogger(__name__)
PREVALENCE = "prevalence"


def _rows(model_input: pd.DataFrame, *splits: str) -> pd.DataFrame:
    return model_input[model_input["row_split"].isin(splits)]


def feature_columns(rows: pd.DataFrame, roles: TableRoles) -> dict[str, Any]:
    """Take the columns of a table of features as a model takes them: arrays, text as objects."""
    texts = {name: rows[name].to_numpy(dtype=object) for name in roles.categorical}
    return {name: rows[name].to_numpy() for name in roles.numeric} | texts


def _fit(
    rows: pd.DataFrame, options: EstimatorOptions, numeric: list[str], categorical: list[str], seed: int
) -> Pipeline:
    unfitted = estimators.build(options, numeric, categorical, seed)
    return estimators.fit(unfitted, rows[[*numeric, *categorical]], rows["row_target"])


def _refuse_unknown_columns(evaluation: EvaluationOptions, roles: TableRoles) -> None:
    known = [*roles.columns, *(["month"] if roles.time else [])]
    asked = {"slices": evaluation.slices, "rates_by": evaluation.rates_by}
    for option, columns in asked.items():
        if unknown := sorted(set(columns) - set(known)):
            raise ConfigurationError(
                f"evaluation.{option} names {', '.join(unknown)}, which is no feature of the table. "
                f"Allowed: {', '.join(known)}."
            )


def search_options(
    model_input: pd.DataFrame,
    table_roles: dict[str, Any],
    model: ModelOptions,
    search: SearchOptions,
    evaluation: EvaluationOptions,
    seed: int,
) -> dict[str, Any]:
    """Search the estimator's options on the choose slice; with 0 trials, take them as given.

    The judge slice is never looked at.

    Raises:
        ConfigurationError: the evaluation names a column that is not there; said now, not after the fit.
    """
    _refuse_unknown_columns(evaluation, TableRoles.model_validate(table_roles))
    if not search.n_trials:
        return {"estimator": model.estimator, "options": model.chosen.model_dump(), "trials": []}
    roles = TableRoles.model_validate(table_roles)
    train, choose = _rows(model_input, "train"), _rows(model_input, "choose")
    trials: list[dict[str, Any]] = []

    def quality(trial: optuna.Trial) -> float:
        options = suggest(trial, model.chosen)
        fitted = _fit(train, options, roles.numeric, roles.categorical, seed)
        scores = estimators.probabilities(fitted, choose[roles.columns])
        scored = metrics.Scored.of(choose["row_target"], scores, bins=1)
        reached = metrics.rounded(scored.metrics(np.ones(len(choose)))[search.metric])
        trials.append({"options": options.model_dump(), search.metric: reached})
        logger.info("search: candidate %d of %d, %s %.4f", len(trials), search.n_trials, search.metric, reached)
        return reached

    smaller = search.metric in metrics.SMALLER_IS_BETTER
    study = optuna.create_study(
        direction="minimize" if smaller else "maximize", sampler=optuna.samplers.TPESampler(seed=seed)
    )
    study.optimize(quality, n_trials=search.n_trials)
    best = trials[study.best_trial.number]
    return {"estimator": model.estimator, "options": best["options"], "trials": trials}


def fit_model(
    model_input: pd.DataFrame,
    table_roles: dict[str, Any],
    model: ModelOptions,
    chosen_options: dict[str, Any],
    seed: int,
) -> Pipeline:
    """Fit the estimator on the train slice."""
    roles = TableRoles.model_validate(table_roles)
    options = type(model.chosen).model_validate(chosen_options["options"])
    return _fit(_rows(model_input, "train"), options, roles.numeric, roles.categorical, seed)


def score_baselines(
    model_input: pd.DataFrame, table_roles: dict[str, Any], baseline: HistGradientBoostingOptions, seed: int
) -> pd.DataFrame:
    """Score the judge slice with what a model must beat.

    ``prevalence`` always answers with the share of positives in the train slice; each baseline
    named in the roles is a boosted model that sees only the columns listed there.
    """
    roles = TableRoles.model_validate(table_roles)
    train, judge = _rows(model_input, "train"), _rows(model_input, "judge")
    scores = pd.DataFrame({"row_key": judge["row_key"], PREVALENCE: np.float32(train["row_target"].mean())})
    for name, columns in roles.baselines.items():
        numeric = [column for column in columns if column in roles.numeric]
        categorical = [column for column in columns if column in roles.categorical]
        fitted = _fit(train, baseline, numeric, categorical, seed)
        scores[name] = estimators.probabilities(fitted, judge[[*numeric, *categorical]]).astype(np.float32)
    return scores.reset_index(drop=True)


def convert_model(fitted_model: Pipeline, table_roles: dict[str, Any]) -> onnx.ModelProto:
    """Convert the fitted pipeline to ONNX."""
    return export.convert(fitted_model, TableRoles.model_validate(table_roles))


def seal_model(converted: onnx.ModelProto, model_input: pd.DataFrame, table_roles: dict[str, Any]) -> OnnxModel:
    """Choose the threshold on the choose slice and write it, with the roles, into the model."""
    roles = TableRoles.model_validate(table_roles)
    choose = _rows(model_input, "choose")
    scores = export.seal(converted, roles, threshold=0.5).predict(feature_columns(choose, roles))
    return export.seal(converted, roles, metrics.best_threshold(choose["row_target"].to_numpy(), scores))


def score_slices(onnx_model: OnnxModel, model_input: pd.DataFrame) -> pd.DataFrame:
    """Score the choose and judge slices with the ONNX model, which is the model that will answer."""
    rows = _rows(model_input, "choose", "judge")
    scores = onnx_model.predict(feature_columns(rows, onnx_model.roles))
    described = rows[["row_key", "row_time", "row_split", "row_target"]]
    return described.assign(model=scores).reset_index(drop=True)


def check_export(
    fitted_model: Pipeline, onnx_model: OnnxModel, model_input: pd.DataFrame, options: ExportOptions
) -> dict[str, Any]:
    """Compare scikit-learn and ONNX on the whole judge slice; refuse a model that differs too much."""
    judge = _rows(model_input, "judge")
    roles = onnx_model.roles
    scores = onnx_model.predict(feature_columns(judge, roles))
    return export.compare(fitted_model, scores, judge[roles.columns], options.tolerance)


def draw_probe(onnx_model: OnnxModel, model_input: pd.DataFrame, options: ExportOptions) -> pd.DataFrame:
    """Take rows spread evenly over the judge slice, with the model's answers: a fingerprint of behaviour."""
    judge = _rows(model_input, "judge")
    positions = np.linspace(0, len(judge) - 1, min(options.probe_rows, len(judge))).astype(int)
    probe = judge.iloc[positions][["row_key", *onnx_model.roles.columns]].reset_index(drop=True)
    return probe.assign(probability=onnx_model.predict(feature_columns(probe, onnx_model.roles)))
