"""Typed parameters: what is refused, and that the defaults are accepted."""

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import ValidationError

from ml_lifecycle import parameters
from ml_lifecycle.metrics import METRICS
from ml_lifecycle.parameters import (
    EvaluationOptions,
    ExportOptions,
    FeatureOptions,
    FlightOptions,
    GateOptions,
    HistGradientBoostingOptions,
    ModelOptions,
    RandomForestOptions,
    SearchOptions,
    SplitOptions,
    TableOptions,
)

CONF = Path(__file__).parents[1] / "conf"
GROUPS = {
    "flights": FlightOptions,
    "features": FeatureOptions,
    "split": SplitOptions,
    "model": ModelOptions,
    "search": SearchOptions,
    "baseline": HistGradientBoostingOptions,
    "evaluation": EvaluationOptions,
    "export": ExportOptions,
    "gate": GateOptions,
}
TABLE = {"target": "left", "task": "binary", "max_categories": 100}


def merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay one tree of settings over another, as an environment is laid over the base."""
    both = {
        key: merged(under[key], value) if isinstance(value, dict) and isinstance(under.get(key), dict) else value
        for key, value in over.items()
    }
    return under | both


def configured(*environments: str) -> dict[str, Any]:
    """Read the parameters of the environments, the later ones laid over the earlier ones."""
    found: dict[str, Any] = {}
    for environment in environments:
        for file in sorted((CONF / environment).glob("parameters*.yml")):
            found = merged(found, yaml.safe_load(file.read_text()))
    return found


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("environments", [("base",), ("base", "test"), ("base", "tabular")], ids="+".join)
def test_the_configured_values_are_accepted(environments: tuple[str, ...], name: str) -> None:
    """Every group of parameters in conf/ passes its model, and the model says nothing else."""
    values = configured(*environments)[name]
    options = GROUPS[name].model_validate(values)
    assert values == merged(options.model_dump(mode="json", exclude_unset=True), {})


def test_the_configured_table_is_accepted() -> None:
    """The roles of your own table, as conf/tabular declares them, pass their model."""
    values = configured("base", "tabular")["table"]
    assert values == TableOptions.model_validate(values).model_dump()


def test_every_configured_group_has_a_model() -> None:
    """No group of parameters in conf/ goes unchecked."""
    assert {*GROUPS, "table", "seed"} == set(configured("base", "test", "tabular"))


@pytest.mark.parametrize("name", GROUPS)
def test_a_misspelt_key_is_refused_with_a_hint(name: str) -> None:
    """A key with a typo is refused; the message suggests the right one and lists all."""
    values = configured("base")[name]
    right = next(iter(values))
    wrong = right[:-1] + "_"
    values[wrong] = values.pop(right)
    allowed = ", ".join(sorted(GROUPS[name].model_fields))
    with pytest.raises(
        ValidationError, match=rf"unknown key '{wrong}'\. Did you mean '{right}'\? Allowed: {allowed}\."
    ):
        GROUPS[name].model_validate(values)


def test_a_misspelt_key_of_an_estimator_is_refused() -> None:
    """Keys are checked at every depth."""
    values = configured("base")["model"]
    values["random_forest"]["n_estimator"] = 5
    with pytest.raises(ValidationError, match=r"unknown key 'n_estimator'\. Did you mean 'n_estimators'\?"):
        ModelOptions.model_validate(values)


def test_a_foreign_key_is_refused_without_a_hint() -> None:
    """A key like no other gets the list of allowed keys, and no guess."""
    with pytest.raises(ValidationError, match=r"unknown key 'colour'\. Allowed: metric, n_trials\."):
        SearchOptions.model_validate({"n_trials": 0, "metric": "brier", "colour": 1})


def test_an_unknown_estimator_is_refused_with_the_list() -> None:
    """The message lists the estimators there are."""
    values = configured("base")["model"] | {"estimator": "svm"}
    with pytest.raises(ValidationError, match="'random_forest', 'hist_gradient_boosting' or 'logistic_regression'"):
        ModelOptions.model_validate(values)


@pytest.mark.parametrize(
    ("estimator", "kind"),
    [
        ("random_forest", RandomForestOptions),
        ("hist_gradient_boosting", HistGradientBoostingOptions),
        ("logistic_regression", parameters.LogisticRegressionOptions),
    ],
)
def test_the_chosen_options_are_those_of_the_estimator(estimator: str, kind: type) -> None:
    """The estimator named is the one whose options are used."""
    values = configured("base")["model"] | {"estimator": estimator}
    assert isinstance(ModelOptions.model_validate(values).chosen, kind)


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("flights", "lead_time_minutes", 0),
        ("flights", "delay_threshold_minutes", -1),
        ("flights", "weather_known_after_minutes", -1),
        ("features", "prediction_moment", "yesterday"),
        ("split", "choose_share", 0),
        ("split", "judge_share", 1),
        ("search", "n_trials", -1),
        ("search", "metric", "accuracy"),
        ("baseline", "max_leaf_nodes", 1),
        ("evaluation", "bootstrap_samples", 49),
        ("evaluation", "confidence", 1),
        ("evaluation", "calibration_bins", 1),
        ("export", "tolerance", 0),
        ("gate", "clean_tree", ["prodution"]),
        ("gate", "floors", {"roc_auc": float("nan")}),
        ("gate", "ceilings", {"brier": "low"}),
        ("gate", "baseline_metrics", []),
        ("gate", "metric", "calibration_gap"),
        ("gate", "comparison", "equivalence"),
        ("gate", "minimum_gain", -0.01),
        ("gate", "confidence", 1),
        ("gate", "bootstrap_samples", 49),
        ("gate", "slice_min_rows", 0),
        ("gate", "slice_max_loss", float("nan")),
        ("gate", "max_latency_ms", 0),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(group: str, key: str, value: Any) -> None:
    """The message names the key whose value cannot be used."""
    with pytest.raises(ValidationError, match=key):
        GROUPS[group].model_validate(configured("base")[group] | {key: value})


@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_other_tasks_are_refused_by_name(task: str) -> None:
    """A task that is not supported is refused, with the one that is."""
    with pytest.raises(ValidationError, match=rf"task '{task}' is not supported yet\. Allowed: binary"):
        TableOptions.model_validate(TABLE | {"task": task})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"choose_from": "2013-10-01", "judge_from": "2013-10-01"}, "must lie before judge_from"),
        ({"choose_from": "2013-11-01", "judge_from": "2013-10-01"}, "must lie before judge_from"),
        ({"choose_from": None, "judge_from": "2013-10-01"}, "give both dates, or neither"),
        ({"choose_from": "2013-10-01", "judge_from": None}, "give both dates, or neither"),
        ({"choose_share": 0.5, "judge_share": 0.5}, "nothing to train on"),
        ({"judge_from": "soon"}, "judge_from"),
    ],
)
def test_slices_must_follow_each_other(change: dict[str, Any], message: str) -> None:
    """Dates and shares that leave no slice in its place are refused."""
    with pytest.raises(ValidationError, match=message):
        SplitOptions.model_validate(configured("base")["split"] | change)


@pytest.mark.parametrize(
    ("side", "metric", "allowed"),
    [
        ("floors", "auc", "'roc_auc' or 'average_precision'"),
        ("floors", "log_loss", "'roc_auc' or 'average_precision'"),
        ("ceilings", "roc_auc", "'log_loss', 'brier' or 'calibration_gap'"),
    ],
)
def test_a_bound_on_the_wrong_side_is_refused_with_the_list(side: str, metric: str, allowed: str) -> None:
    """A metric that is unknown, or that runs the other way, is refused; the message lists those that are bounded."""
    with pytest.raises(ValidationError, match=rf"{side}\.{metric}[^$]*{allowed}"):
        GateOptions.model_validate(configured("base")["gate"] | {side: {metric: 0.5}})


def test_every_metric_has_a_bound_of_one_kind() -> None:
    """Floors and ceilings together take all metrics there are, and no other."""
    kinds = [get_args(get_args(GateOptions.model_fields[side].annotation)[0]) for side in ("floors", "ceilings")]
    assert METRICS == (*kinds[0], *kinds[1])


def test_non_inferiority_needs_a_margin() -> None:
    """Without a margin it would ask the same as superiority."""
    values = configured("base")["gate"] | {"comparison": "non_inferiority", "minimum_gain": 0.0}
    with pytest.raises(ValidationError, match=r"non_inferiority needs a minimum_gain above 0"):
        GateOptions.model_validate(values)


@pytest.mark.parametrize(("comparison", "needed"), [("superiority", 0.01), ("non_inferiority", -0.01)])
def test_the_margin_is_gained_or_not_lost(comparison: str, needed: float) -> None:
    """The same margin is what must be gained at least, or what must not be lost."""
    options = GateOptions.model_validate(
        configured("base")["gate"] | {"comparison": comparison, "minimum_gain": 0.01, "confidence": 0.9}
    )
    assert (needed, 0.05) == (options.needed_gain, pytest.approx(options.error_share))


def test_parameters_print_as_json() -> None:
    """What MLflow logs is JSON."""
    assert '{"n_trials":3,"metric":"brier"}' == str(SearchOptions(n_trials=3, metric="brier"))


def test_parameters_cannot_be_changed() -> None:
    """A node cannot change the parameters of another."""
    options = SearchOptions(n_trials=3, metric="brier")
    with pytest.raises(ValidationError, match="frozen"):
        options.n_trials = 4


def test_a_group_must_be_a_mapping() -> None:
    """A single value in place of a group is refused."""
    with pytest.raises(ValidationError, match="valid dictionary"):
        SearchOptions.model_validate(3)
