"""Nodes of training: search, fit, export, decide, judge; and the purity of all nodes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_lifecycle import metrics, schemas
from ml_lifecycle.errors import ConfigurationError
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.parameters import EvaluationOptions, ExportOptions, ModelOptions, SearchOptions
from ml_lifecycle.pipelines.training import create_pipeline, nodes
from ml_lifecycle.pipelines.training import evaluation as judging
from ml_lifecycle.provenance.record import DataRecord, RunRecord, digest_of_labels
from ml_lifecycle.roles import TableRoles

PIPELINE = create_pipeline()
NO_SEARCH = SearchOptions(n_trials=0, metric="roc_auc")
DATA_REPORT = {
    "raw_inputs": {"customers": {"path": "customers.csv", "md5": "0" * 32, "size": 10}},
    "rows": {"customers": {"in": 900, "kept": 900, "quarantined": {}}},
    "slices": {"train": {"rows": 500, "positives": 250, "from": "2013-01-01", "until": "2013-02-05"}},
}
JUDGED = pd.Timestamp("2013-02-15")


@pytest.fixture(scope="module")
def roles(table_roles: TableRoles) -> dict[str, Any]:
    """Roles as they come from the catalog."""
    return table_roles.model_dump(mode="json")


@pytest.fixture(scope="module")
def world(
    model_input: pd.DataFrame, roles: dict[str, Any], small_models: ModelOptions,
    evaluation_options: EvaluationOptions, run_record: RunRecord, data_record: DataRecord,
    *, run_nodes: Callable[..., dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """Every dataset of a training on the customers, with a short search."""
    return run_nodes(
        PIPELINE,
        {
            "model_input": model_input,
            "table_roles": roles,
            "data_report": DATA_REPORT,
            "data_record": data_record.model_dump(mode="json"),
            "run_record": run_record,
            "params:seed": 1,
            "params:model": small_models,
            "params:search": SearchOptions(n_trials=2, metric="roc_auc"),
            "params:baseline": small_models.hist_gradient_boosting,
            "params:evaluation": evaluation_options,
            "params:export": ExportOptions(tolerance=1e-5, probe_rows=20),
        },
    )


@pytest.mark.parametrize("name", [node.name for node in PIPELINE.nodes])
def test_a_node_is_pure(name: str, world: dict[str, Any], freeze: Callable[[Any], Any]) -> None:
    """A node leaves its inputs as they were and gives the same output every time."""
    node = next(node for node in PIPELINE.nodes if node.name == name)
    inputs = {dataset: world[dataset] for dataset in node.inputs}
    before, first = freeze(inputs), freeze(node.run(dict(inputs)))
    assert (before, first) == (freeze(inputs), freeze(node.run(dict(inputs))))


def test_without_trials_the_options_are_those_given(
    model_input: pd.DataFrame, roles: dict[str, Any], small_models: ModelOptions, evaluation_options: EvaluationOptions
) -> None:
    """Zero trials take the configured options and record no trial."""
    chosen = nodes.search_options(model_input, roles, small_models, NO_SEARCH, evaluation_options, seed=1)
    assert {"estimator": "logistic_regression", "options": {"C": 1.0, "max_iter": 500}, "trials": []} == chosen


@pytest.mark.parametrize(("metric", "best"), [("roc_auc", max), ("average_precision", max), ("log_loss", min)])
def test_the_best_candidate_is_chosen(
    metric: str, best: Callable[..., float], model_input: pd.DataFrame, roles: dict[str, Any],
    small_models: ModelOptions, evaluation_options: EvaluationOptions
) -> None:  # fmt: skip
    """A larger area or a smaller loss wins, and every candidate is recorded with its figure."""
    search = SearchOptions(n_trials=4, metric=metric)
    chosen = nodes.search_options(model_input, roles, small_models, search, evaluation_options, seed=1)
    reached = [trial[metric] for trial in chosen["trials"]]
    assert 4 == len(set(reached))
    assert chosen["options"] == chosen["trials"][reached.index(best(reached))]["options"]


@pytest.mark.parametrize(("seed", "same"), [(1, True), (2, False)])
def test_the_search_follows_the_seed(
    seed: int,
    same: bool,
    model_input: pd.DataFrame,
    roles: dict[str, Any],
    small_models: ModelOptions,
    evaluation_options: EvaluationOptions,
) -> None:
    """The same seed tries the same candidates, another one others."""
    search = SearchOptions(n_trials=2, metric="roc_auc")
    first, second = (
        nodes.search_options(model_input, roles, small_models, search, evaluation_options, number)
        for number in (1, seed)
    )
    assert same is (first == second)


def test_the_judge_slice_decides_nothing(
    model_input: pd.DataFrame, roles: dict[str, Any], small_models: ModelOptions, evaluation_options: EvaluationOptions
) -> None:
    """Turning every label of the judge slice around changes neither options nor model nor threshold."""
    judge = model_input["row_split"] == "judge"
    turned = model_input.assign(row_target=model_input["row_target"].where(~judge, 1 - model_input["row_target"]))
    search = SearchOptions(n_trials=2, metric="roc_auc")

    def sealed(table: pd.DataFrame) -> OnnxModel:
        chosen = nodes.search_options(table, roles, small_models, search, evaluation_options, seed=1)
        fitted = nodes.fit_model(table, roles, small_models, chosen, seed=1)
        return nodes.seal_model(nodes.convert_model(fitted, roles), table, roles)

    assert sealed(model_input).digest == sealed(turned).digest


def test_the_model_learns_from_the_train_slice_alone(
    model_input: pd.DataFrame,
    roles: dict[str, Any],
    small_models: ModelOptions,
    freeze: Callable[[Any], Any],
    evaluation_options: EvaluationOptions,
) -> None:
    """Without the other slices the fitted model is the same."""
    chosen = nodes.search_options(model_input, roles, small_models, NO_SEARCH, evaluation_options, seed=1)
    train = model_input[model_input["row_split"] == "train"]
    whole, part = (nodes.fit_model(table, roles, small_models, chosen, seed=1) for table in (model_input, train))
    assert freeze(whole) == freeze(part)


def test_the_threshold_has_the_best_f1_of_the_choose_slice(world: dict[str, Any]) -> None:
    """No other score of the choose slice would decide better there."""
    scores = world["evaluation_scores"]
    choose = scores[scores["row_split"] == "choose"]
    expected = metrics.best_threshold(choose["row_target"].to_numpy(), choose["model"].to_numpy())
    assert expected == world["onnx_model"].threshold


def test_scores_fulfil_their_contract(world: dict[str, Any], model_input: pd.DataFrame) -> None:
    """Every row of the choose and the judge slice has a score, and no row of the train slice."""
    scores = schemas.EvaluationScores.validate(world["evaluation_scores"])
    assert model_input.loc[model_input["row_split"] != "train", "row_key"].tolist() == scores["row_key"].tolist()


def test_prevalence_answers_with_the_share_of_the_train_slice(world: dict[str, Any], model_input: pd.DataFrame) -> None:
    """The simplest baseline knows only how often the target occurred."""
    share = model_input.loc[model_input["row_split"] == "train", "row_target"].mean()
    assert [np.float32(share)] == world["baseline_scores"]["prevalence"].unique().tolist()


def test_a_baseline_sees_only_its_columns(
    model_input: pd.DataFrame, roles: dict[str, Any], small_models: ModelOptions
) -> None:
    """A column that is not the baseline's does not change its scores."""
    options = small_models.hist_gradient_boosting
    blind = model_input.assign(balance=np.float32(0), job="", city="")
    scores, same = (nodes.score_baselines(table, roles, options, seed=1) for table in (model_input, blind))
    pd.testing.assert_frame_equal(scores, same)


def test_the_export_report_covers_the_judge_slice(world: dict[str, Any], model_input: pd.DataFrame) -> None:
    """Every judged row was compared."""
    assert int((model_input["row_split"] == "judge").sum()) == world["export_report"]["rows"]


@pytest.mark.parametrize(("asked", "drawn"), [(20, 20), (10_000, None)], ids=["some rows", "more than there are"])
def test_the_probe_is_drawn_from_the_judge_slice(
    asked: int, drawn: int | None, onnx_model: OnnxModel, model_input: pd.DataFrame
) -> None:
    """The probe spreads from the first to the last judged row, each row once, with the model's answers."""
    judge = model_input.loc[model_input["row_split"] == "judge", "row_key"].tolist()
    probe = nodes.draw_probe(onnx_model, model_input, ExportOptions(tolerance=1e-5, probe_rows=asked))
    keys = probe["row_key"].tolist()
    assert (drawn or len(judge), judge[0], judge[-1]) == (len(set(keys)), keys[0], keys[-1])
    again = onnx_model.predict(nodes.feature_columns(probe, onnx_model.roles))
    np.testing.assert_array_equal(again, probe["probability"])


def test_the_evaluation_judges_the_judge_slice_alone(world: dict[str, Any]) -> None:
    """Figures equal those computed from the scores of the judged rows."""
    scores = world["evaluation_scores"]
    judge = scores[scores["row_split"] == "judge"]
    expected = metrics.Scored.of(judge["row_target"], judge["model"], 5).metrics(np.ones(len(judge)))
    evaluation = world["evaluation"]
    assert {name: metrics.rounded(value) for name, value in expected.items()} == {
        name: figure["value"] for name, figure in evaluation["model"].items()
    }
    assert (len(judge), int(judge["row_target"].sum())) == (evaluation["rows"], evaluation["positives"])


def test_the_evaluation_names_the_rows_it_judged(world: dict[str, Any], model_input: pd.DataFrame) -> None:
    """The digest is that of keys, times and labels of the judge slice, whatever the model answers."""
    judge = model_input[model_input["row_split"] == "judge"]
    assert digest_of_labels(judge) == world["evaluation"]["judge_sha256"]


def test_improvements_are_differences_to_each_baseline(world: dict[str, Any]) -> None:
    """Each baseline has its improvements, and that of the area is the difference of the areas."""
    evaluation = world["evaluation"]
    expected = {
        name: evaluation["model"]["roc_auc"]["value"] - baseline["roc_auc"]["value"]
        for name, baseline in evaluation["baselines"].items()
    }
    found = {name: better["roc_auc"]["value"] for name, better in evaluation["improvements"].items()}
    assert {"prevalence", "age_only"} == set(found)
    assert expected == pytest.approx(found, abs=2e-6)


def test_decisions_add_up_to_the_judged_rows(world: dict[str, Any]) -> None:
    """Every judged row is a hit, a miss, a false alarm or rightly left alone."""
    cells = ("true_positives", "false_positives", "false_negatives", "true_negatives")
    decisions = world["evaluation"]["decisions"]
    assert world["evaluation"]["rows"] == sum(decisions[cell]["value"] for cell in cells)


def test_calibration_has_the_bins_asked_for(world: dict[str, Any]) -> None:
    """Each bin has its mean score, and its observed share with an interval."""
    bins = world["evaluation"]["calibration"]
    scores = [entry["mean_score"] for entry in bins]
    assert (5, sorted(scores)) == (len(bins), scores)
    assert all(entry["observed"]["low"] <= entry["observed"]["value"] <= entry["observed"]["high"] for entry in bins)


def evaluated(world: dict[str, Any], scores: pd.DataFrame, options: EvaluationOptions) -> dict[str, Any]:
    """Evaluate other scores than those of the world."""
    return judging.evaluate(scores, world["baseline_scores"], world["onnx_model"], world["export_report"], options, 1)


def test_rows_of_a_day_are_drawn_together(world: dict[str, Any], evaluation_options: EvaluationOptions) -> None:
    """If all judged rows lie on one day, every draw is the whole slice and no interval has a width."""
    scores = world["evaluation_scores"].assign(row_time=JUDGED)
    area = evaluated(world, scores, evaluation_options)["model"]["roc_auc"]
    assert area["low"] == area["value"] == area["high"]


def test_rows_without_a_time_are_drawn_one_by_one(world: dict[str, Any], evaluation_options: EvaluationOptions) -> None:
    """A table without time is resampled by rows, so that figures have an interval."""
    scores = world["evaluation_scores"].assign(row_time=pd.Series(pd.NaT, dtype="datetime64[us]"))
    area = evaluated(world, scores, evaluation_options)["model"]["roc_auc"]
    assert area["low"] < area["value"] < area["high"]


def test_the_hour_of_a_row_does_not_change_its_day(
    world: dict[str, Any], evaluation_options: EvaluationOptions
) -> None:
    """Blocks are calendar days, whatever the time of day; of the figures and all else, only the rows are others."""
    scores = world["evaluation_scores"]
    hours = pd.to_timedelta(np.arange(len(scores)) % 24, unit="h")
    later = scores.assign(row_time=scores["row_time"] + hours)
    found, same = (evaluated(world, table, evaluation_options) for table in (later, scores))
    assert found.pop("judge_sha256") != same.pop("judge_sha256")
    assert found == same


def test_slices_hold_the_judged_rows(world: dict[str, Any]) -> None:
    """The parts of each column hold all judged rows, for every metric."""
    rows = world["slice_metrics"].groupby(["column", "metric"])["rows"].sum()
    assert {world["evaluation"]["rows"]} == set(rows)
    assert {"month", "city"} == set(world["slice_metrics"]["column"])


def test_without_slices_the_table_is_empty(
    world: dict[str, Any], model_input: pd.DataFrame, evaluation_options: EvaluationOptions
) -> None:
    """No slices make a table of the right columns without rows."""
    options = evaluation_options.model_copy(update={"slices": []})
    table = judging.evaluate_slices(world["evaluation_scores"], model_input, options, seed=1)
    assert (judging.SLICE_COLUMNS, 0) == (list(table), len(table))


def test_a_slice_of_one_class_has_no_area(
    world: dict[str, Any], model_input: pd.DataFrame, evaluation_options: EvaluationOptions
) -> None:
    """A part in which nobody leaves reports its rows, and an area that is missing."""
    scores = world["evaluation_scores"].assign(row_target=np.int8(0))
    table = judging.evaluate_slices(scores, model_input, evaluation_options, seed=1)
    areas = table[table["metric"] == "roc_auc"]
    assert (0, True) == (areas["positives"].sum(), areas[["value", "low", "high"]].isna().all(axis=None))


def test_tracked_metrics_are_those_of_the_judge_slice(world: dict[str, Any]) -> None:
    """MLflow shows value, low and high of each figure, the baselines' under their name."""
    tracked, evaluation = world["tracked_metrics"], world["evaluation"]
    assert evaluation["model"]["roc_auc"]["low"] == tracked["judge.roc_auc.low"]["value"]
    assert evaluation["decisions"]["f1"]["value"] == tracked["judge.f1"]["value"]
    assert evaluation["baselines"]["age_only"]["brier"]["high"] == tracked["judge.age_only.brier.high"]["value"]


def test_undefined_figures_are_not_tracked() -> None:
    """A figure without a value is left out, not written as zero."""
    undefined = {"value": None, "low": None, "high": None}
    evaluation = {"model": {"roc_auc": undefined}, "decisions": {}, "baselines": {"prevalence": {"brier": undefined}}}
    assert {} == judging.track_metrics(evaluation)


@pytest.mark.parametrize("option", ["slices", "rates_by"])
def test_an_evaluation_by_an_unknown_column_is_refused_before_the_fit(
    option: str, model_input: pd.DataFrame, roles: dict[str, Any], small_models: ModelOptions,
    evaluation_options: EvaluationOptions,
) -> None:  # fmt: skip
    """A column that the table does not have cannot be judged by, and training says so in its first node."""
    misspelt = evaluation_options.model_copy(update={option: ["cuntry"]})
    with pytest.raises(ConfigurationError, match=f"evaluation.{option} names cuntry, which is no feature"):
        nodes.search_options(model_input, roles, small_models, NO_SEARCH, misspelt, seed=1)
