"""The gate: every rule in its three answers, and how often a comparison is wrong."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from pydantic import ValidationError

from ml_lifecycle import comparison
from ml_lifecycle.gate import Answer, Evidence, RuleAnswer, judge, overall
from ml_lifecycle.parameters import GateOptions

YES, NO, CANNOT = Answer.YES, Answer.NO, Answer.CANNOT
RULES = [
    "provenance",
    "clean_tree",
    "bounds",
    "parity",
    "signature",
    "floors",
    "baselines",
    "question",
    "incumbent",
    "slices",
    "latency",
]
NOT_A_NUMBER = [None, float("nan"), float("inf"), -float("inf"), "0.7", True, {}, []]
OPTIONS = GateOptions(
    clean_tree=["production"],
    floors={"roc_auc": 0.6, "average_precision": 0.3},
    ceilings={"log_loss": 0.5, "calibration_gap": 0.1},
    baseline_metrics=["roc_auc", "log_loss"],
    question=["flights"],
    metric="roc_auc",
    comparison="superiority",
    minimum_gain=0.0,
    confidence=0.9,
    bootstrap_samples=100,
    slices=["origin", "month"],
    slice_min_rows=100,
    slice_max_loss=0.03,
    max_latency_ms=20.0,
)


def world(seed: int, incumbent_noise: float = 0.5, challenger_noise: float = 0.5) -> pd.DataFrame:
    """1,200 rows on 40 days, and two models that see the same signal, each through noise of its own.

    Most of the noise is that of a day, for all its rows. With equal noise neither model is better.
    """
    random = np.random.default_rng(seed)
    count, days = 1200, 40
    day = np.sort(random.integers(0, days, count))
    signal = random.normal(0, 1, count) + random.normal(0, 0.5, days)[day]
    seen = signal + random.normal(0, 0.4, count)

    def score(noise: float) -> Any:
        blurred = seen + random.normal(0, 0.2, count) + random.normal(0, noise, days)[day]
        return (1 / (1 + np.exp(1 - 1.2 * blurred))).astype(np.float32)

    return pd.DataFrame(
        {
            "row_key": [f"r{number}" for number in range(count)],
            "row_time": pd.Timestamp("2013-10-01") + pd.to_timedelta(day, unit="D"),
            "row_target": (random.random(count) < 1 / (1 + np.exp(1 - 1.5 * signal))).astype(np.int8),
            "challenger": score(challenger_noise),
            "incumbent": score(incumbent_noise),
            "origin": random.choice(["EWR", "JFK", "LGA"], count),
        }
    )


BETTER = world(1, challenger_noise=0.1)


def figure(value: Any, low: Any = None) -> dict[str, Any]:
    """Make a figure whose interval begins at ``low`` or just below the value."""
    return {"value": value, "low": value - 0.01 if low is None else low, "high": value + 0.01}


EVALUATION: dict[str, Any] = {
    "model": {
        "roc_auc": figure(0.74),
        "average_precision": figure(0.51),
        "log_loss": figure(0.46),
        "brier": figure(0.15),
        "calibration_gap": figure(-0.02),
    },
    "improvements": {
        "prevalence": {"roc_auc": figure(0.24), "log_loss": figure(0.08)},
        "schedule_only": {"roc_auc": figure(0.10), "log_loss": figure(0.07)},
    },
    "export": {"largest_difference": 4e-7},
}
EVIDENCE = Evidence(
    alias="production",
    provenance_gaps=[],
    dirty=False,
    signature="verified",
    signature_detail="by key 1f",
    uncommitted=[],
    baselines=["prevalence", "schedule_only"],
    other_question=[],
    evaluation=EVALUATION,
    tolerance=1e-5,
    latency_ms=0.4,
    incumbent="3",
    rows=BETTER,
)


def altered(report: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Replace one entry deep in a report; ``...`` takes it out."""
    name, _, rest = path.partition(".")
    if rest:
        return report | {name: altered(report[name], rest, value)}
    return {key: entry for key, entry in (report | {name: value}).items() if entry is not ...}


def evaluated(path: str, value: Any) -> dict[str, Any]:
    """Change one entry of the evaluation."""
    return {"evaluation": altered(EVALUATION, path, value)}


def rows(**columns: Any) -> dict[str, Any]:
    """Change columns of the rows."""
    return {"rows": BETTER.assign(**columns)}


def asked(rule: str, evidence: dict[str, Any], options: dict[str, Any] | None = None) -> RuleAnswer:
    """Ask one rule about the evidence with changes, under options with changes."""
    changed = GateOptions.model_validate(OPTIONS.model_dump() | (options or {}))
    return next(answer for answer in judge(replace(EVIDENCE, **evidence), changed, seed=1) if answer.rule == rule)


SWAPPED = BETTER.rename(columns={"challenger": "incumbent", "incumbent": "challenger"})
WORSE_IN_EWR = BETTER["incumbent"].where(BETTER["origin"] != "EWR", 1 - BETTER["incumbent"])
ELSEWHERE = {"slices": ["carrier", "month"]}

#: rule, changes to the evidence, changes to the options, answer, part of the explanation
CASES: list[tuple[str, dict[str, Any], dict[str, Any], Answer, str]] = [
    ("provenance", {}, {}, YES, "lacks 0 parts; needed: 0"),
    (
        "provenance",
        {"provenance_gaps": ["git.commit", "dvc.flights"]},
        {},
        NO,
        "lacks 2 parts: git.commit, dvc.flights",
    ),
    ("provenance", {"provenance_gaps": None}, {}, CANNOT, "no readable record"),
    ("clean_tree", {}, {}, YES, "a commit without changes"),
    ("clean_tree", {"dirty": True}, {}, NO, "uncommitted changes; needed: a commit without any"),
    ("clean_tree", {"dirty": None}, {}, CANNOT, "not recorded"),
    ("clean_tree", {"dirty": True, "alias": "staging"}, {}, YES, "not asked for staging, only for production"),
    ("clean_tree", {"dirty": True, "alias": "staging"}, {"clean_tree": ["staging"]}, NO, "uncommitted changes"),
    ("clean_tree", {"dirty": True}, {"clean_tree": []}, YES, "not asked for production, only for no alias"),
    ("bounds", {}, {}, YES, "0 parameters of the gate are not those of the commit; needed: 0"),
    (
        "bounds",
        {"uncommitted": ["gate.metric"]},
        {},
        NO,
        "1 parameters of the gate are not those of the commit: g",
    ),
    ("bounds", {"uncommitted": None}, {}, CANNOT, "not known whether the bounds of the gate are committed"),
    # of two models that answer different questions neither is the better one: there is no no
    ("question", {}, {}, YES, "asked otherwise than version 3 in 0 parameters; needed: 0"),
    (
        "question",
        {"other_question": ["flights.lead (1 against 2)"]},
        {},
        CANNOT,
        "1 parameters: flights.lead (1 ag",
    ),
    ("question", {"other_question": None}, {}, CANNOT, "not known what version 3 predicts"),
    (
        "question",
        {"other_question": None, "incumbent": None, "rows": None},
        {},
        YES,
        "0 versions are behind production",
    ),
    ("baselines", evaluated("improvements.schedule_only", ...), {}, CANNOT, "over schedule_only in roc_auc: undefined"),
    ("baselines", {"baselines": ["prevalence", "other"]}, {}, CANNOT, "gain over other in roc_auc: undefined"),
    ("baselines", {"baselines": None}, {}, CANNOT, "not known which baselines the version must beat"),
    ("parity", {}, {}, YES, "differ by up to 4e-07; needed: at most 1e-05"),
    ("parity", evaluated("export.largest_difference", 1e-5), {}, YES, "1e-05; needed: at most 1e-05"),
    ("parity", evaluated("export.largest_difference", 2e-5), {}, NO, "2e-05; needed: at most 1e-05"),
    ("parity", evaluated("export", ...), {}, CANNOT, "None; needed: at most 1e-05"),
    ("parity", {"evaluation": None}, {}, CANNOT, "None; needed: at most 1e-05"),
    ("signature", {}, {}, YES, "verified: by key 1f"),
    ("signature", {"signature": "refused", "signature_detail": "model.onnx changed"}, {}, NO, "model.onnx changed"),
    ("signature", {"signature": "unchecked", "signature_detail": "no key"}, {}, CANNOT, "no key; needed: verified"),
    ("floors", {}, {}, YES, "roc_auc 0.7400, needed: at least 0.6; calibration_gap -0.0200, needed: at most 0.1"),
    ("floors", evaluated("model.roc_auc.value", 0.6), {}, YES, "roc_auc 0.6000, needed: at least 0.6"),
    ("floors", evaluated("model.roc_auc.value", 0.59), {}, NO, "roc_auc 0.5900, needed: at least 0.6"),
    ("floors", evaluated("model.log_loss.value", 0.51), {}, NO, "log_loss 0.5100, needed: at most 0.5"),
    ("floors", evaluated("model.calibration_gap.value", -0.11), {}, NO, "calibration_gap -0.1100, needed: at most 0.1"),
    ("floors", evaluated("model.calibration_gap.value", 0.11), {}, NO, "calibration_gap 0.1100, needed: at most 0.1"),
    ("floors", evaluated("model.roc_auc", ...), {}, CANNOT, "roc_auc is missing or undefined, needed: at least 0.6"),
    ("floors", {"evaluation": None}, {}, CANNOT, "log_loss is missing or undefined, needed: at most 0.5"),
    ("floors", {"evaluation": {}}, {"floors": {}, "ceilings": {}}, YES, "0 floors and 0 ceilings"),
    ("baselines", {}, {}, YES, "gain over schedule_only in log_loss: 0.0700 [0.0600, 0.0800], needed: low above 0"),
    ("baselines", evaluated("improvements.prevalence.roc_auc", figure(0.2, 0)), {}, NO, "0.2000 [0.0000, 0.2100]"),
    ("baselines", evaluated("improvements.prevalence.log_loss", figure(-0.1)), {}, NO, "-0.1000 [-0.1100, -0.0900]"),
    ("baselines", evaluated("improvements.prevalence.roc_auc", ...), {}, CANNOT, "prevalence in roc_auc: undefined"),
    ("baselines", evaluated("improvements", {}), {}, CANNOT, "0 baselines; needed: at least 1"),
    ("baselines", evaluated("improvements", ...), {}, CANNOT, "0 baselines; needed: at least 1"),
    ("baselines", {"evaluation": None}, {}, CANNOT, "0 baselines; needed: at least 1"),
    (
        "incumbent",
        {},
        {},
        YES,
        "needed for superiority: low above 0; a version whose true gain is just that passes in ",
    ),
    ("incumbent", {"incumbent": None, "rows": None}, {}, YES, "0 versions are behind production"),
    ("incumbent", {"rows": SWAPPED}, {}, NO, "(0."),
    ("incumbent", rows(challenger=BETTER["incumbent"]), {}, NO, "0.0000 [0.0000, 0.0000]"),
    ("incumbent", {}, {"minimum_gain": 0.2}, NO, "low above 0.2"),
    (
        "incumbent",
        rows(challenger=BETTER["incumbent"]),
        {"comparison": "non_inferiority", "minimum_gain": 0.01},
        YES,
        "needed for non_inferiority: low above -0.01",
    ),
    ("incumbent", {"rows": SWAPPED}, {"comparison": "non_inferiority", "minimum_gain": 0.01}, NO, "above -0.01"),
    ("incumbent", {"rows": None, "rows_problem": "version 3 is gone"}, {}, CANNOT, "version 3: version 3 is gone"),
    ("incumbent", {"rows": None}, {}, CANNOT, "no rows that both models were scored on"),
    ("incumbent", rows(challenger=np.float32("nan")), {}, CANNOT, "1,200 of 1,200 rows lack a probability"),
    ("incumbent", rows(row_target=1), {}, CANNOT, "both labels are needed"),
    ("incumbent", {"rows": BETTER.head(0)}, {}, CANNOT, "0 rows with 0 positives"),
    ("incumbent", {"rows": BETTER.drop(columns="incumbent")}, {}, CANNOT, "the rows lack incumbent"),
    ("incumbent", rows(row_time=pd.Timestamp("2013-10-01")), {}, CANNOT, "1 days"),
    ("incumbent", rows(row_target=np.arange(1200) < 1), {}, CANNOT, "(0."),  # a draw without a positive
    ("slices", {}, {}, YES, "0 of 5 parts with at least 100 rows and both labels lose more than 0.03 in roc_auc"),
    ("slices", rows(challenger=WORSE_IN_EWR), {"slices": ["origin"]}, NO, "1 of 3 parts"),
    ("slices", rows(challenger=WORSE_IN_EWR), {"slices": ["origin"]}, NO, "they are origin EWR -0."),
    ("slices", {"incumbent": None, "rows": None}, {}, YES, "0 versions are behind production"),
    ("slices", {"rows": None}, {"slices": []}, YES, "0 slice columns are configured"),
    ("slices", {}, {"slice_min_rows": 5000}, YES, "0 parts of origin, month have at least 5,000 rows"),
    ("slices", {"rows": None, "rows_problem": "no judge rows"}, {}, CANNOT, "no judge rows"),
    ("slices", {}, ELSEWHERE, CANNOT, "the rows lack carrier; gate.slices needs carrier, month"),
    ("slices", rows(row_time=pd.NaT), ELSEWHERE, CANNOT, "the rows lack carrier, month"),
    ("slices", rows(challenger=np.float32("nan")), {}, CANNOT, "1,200 of 1,200 rows lack a probability"),
    ("slices", rows(row_target=1), {}, CANNOT, "both labels are needed"),
    ("latency", {}, {}, YES, "0.40 ms; needed: at most 20 ms"),
    ("latency", {"latency_ms": 20.0}, {}, YES, "20.00 ms; needed: at most 20 ms"),
    ("latency", {"latency_ms": 20.1}, {}, NO, "20.10 ms; needed: at most 20 ms"),
    ("latency", {"latency_ms": None}, {}, CANNOT, "not timed; needed: at most 20 ms"),
]


@pytest.mark.parametrize(("rule", "evidence", "options", "answer", "explanation"), CASES)
def test_each_rule_answers_with_its_figures(
    rule: str, evidence: dict[str, Any], options: dict[str, Any], answer: Answer, explanation: str
) -> None:
    """A rule says yes, no or cannot decide, with what was found and what is needed."""
    found = asked(rule, evidence, options)
    assert (answer, True) == (found.answer, explanation in found.explanation), found.explanation


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_shown_in_all_its_answers(rule: str) -> None:
    """The cases above leave out no answer of any rule."""
    without_no = {"question"}
    assert {case[3] for case in CASES if case[0] == rule} == set(Answer) - ({NO} if rule in without_no else set())


@pytest.mark.parametrize("value", NOT_A_NUMBER, ids=repr)
@pytest.mark.parametrize(
    ("rule", "place"),
    [
        ("parity", "export.largest_difference"),
        ("floors", "model.roc_auc.value"),
        ("floors", "model.log_loss.value"),
        ("baselines", "improvements.prevalence.roc_auc.low"),
        ("latency", "latency_ms"),
        ("parity", "tolerance"),
    ],
)
def test_what_is_no_number_decides_nothing(rule: str, place: str, value: Any) -> None:
    """Missing, NaN, infinite, text and truth values lead to neither yes nor no."""
    evidence = evaluated(place, value) if "." in place else {place: value}
    assert asked(rule, evidence).answer is CANNOT


def test_one_failed_floor_decides_beside_a_missing_one() -> None:
    """A no stays a no, whatever else cannot be decided."""
    evaluation = altered(altered(EVALUATION, "model.roc_auc.value", 0.5), "model.log_loss", ...)
    assert asked("floors", {"evaluation": evaluation}).answer is NO


def test_a_part_of_missing_values_is_compared() -> None:
    """Rows without an origin are a part like others, and can be the one that is worse."""
    unknown = BETTER["origin"].where(BETTER["origin"] != "EWR")
    found = asked("slices", rows(origin=unknown, challenger=WORSE_IN_EWR), {"slices": ["origin"]})
    assert (NO, ["nan"]) == (found.answer, [part["part"] for part in found.figures["worse"]])


def test_a_part_with_one_label_is_not_compared() -> None:
    """A part where nothing was late cannot be ranked, and does not count."""
    target = BETTER["row_target"].where(BETTER["origin"] != "EWR", 0)
    assert asked("slices", rows(row_target=target), {"slices": ["origin"]}).figures["parts"] == 2


def test_the_bound_of_a_part_is_what_it_may_lose() -> None:
    """A loss of exactly the bound passes, a smaller bound does not."""
    loss = -asked("slices", {"rows": SWAPPED}).figures["worst"]["value"]
    answers = [asked("slices", {"rows": SWAPPED}, {"slice_max_loss": bound}).answer for bound in (loss, loss - 1e-6)]
    assert [YES, NO] == answers


def test_every_rule_is_asked_once_in_order() -> None:
    """A sound version that is better than the one in place passes all nine rules."""
    answers = judge(EVIDENCE, OPTIONS, seed=1)
    assert dict.fromkeys(RULES, YES) == {answer.rule: answer.answer for answer in answers}
    assert (RULES, YES) == ([answer.rule for answer in answers], overall(answers))


def test_the_same_seed_gives_the_same_answers() -> None:
    """A judgement can be repeated, and another seed draws other days."""
    one, again, other = (judge(EVIDENCE, OPTIONS, seed) for seed in (1, 1, 2))
    assert (True, False) == (one == again, one == other)


def test_judging_leaves_the_evidence_as_it_is() -> None:
    """Rows and evaluation are read, never written."""
    before = BETTER.copy()
    judge(EVIDENCE, OPTIONS, seed=1)
    pd.testing.assert_frame_equal(before, BETTER)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([], CANNOT),
        ([YES], YES),
        ([YES, YES], YES),
        ([YES, CANNOT], CANNOT),
        ([CANNOT, YES], CANNOT),
        ([YES, NO], NO),
        ([NO, CANNOT], NO),
        ([CANNOT, NO, YES], NO),
    ],
)
def test_the_worst_answer_decides(answers: list[Answer], expected: Answer) -> None:
    """One no is a no; otherwise one open question leaves it open; nothing asked is nothing decided."""
    assert overall(RuleAnswer(rule="any", answer=answer, explanation="") for answer in answers) is expected


def test_an_answer_prints_as_json() -> None:
    """What a rule says can be kept with the version, figures included."""
    for answer in judge(EVIDENCE, OPTIONS, seed=1):
        assert answer == RuleAnswer.model_validate_json(answer.model_dump_json())


def test_an_answer_has_no_other_parts() -> None:
    """A misspelt part is refused."""
    with pytest.raises(ValidationError, match="figure"):
        RuleAnswer(rule="latency", answer=YES, explanation="", figure={})


def share_of_yes(worlds: int, make: Callable[[int], pd.DataFrame]) -> float:
    """How often the comparison with the incumbent says yes, over worlds drawn anew."""
    options = {"slices": []}
    return float(np.mean([asked("incumbent", {"rows": make(seed)}, options).answer is YES for seed in range(worlds)]))


def most_by_chance(stated: float, worlds: int) -> float:
    """A share that the stated one exceeds by chance, over so many worlds, in one of forty cases."""
    return stated + 2 * float(np.sqrt(stated * (1 - stated) / worlds))


def test_an_equal_model_passes_no_more_often_than_stated() -> None:
    """Of 500 comparisons of two equal models no more pass than stated, up to what chance adds."""
    stated = asked("incumbent", {}).figures["error_share"]
    assert stated == pytest.approx((1 - OPTIONS.confidence) / 2)
    assert share_of_yes(500, world) <= most_by_chance(stated, 500)


def test_drawing_rows_instead_of_days_would_promise_too_much() -> None:
    """The simulation notices an interval that is too narrow: without their times rows are drawn one by one."""
    found = share_of_yes(200, lambda seed: world(seed).assign(row_time=pd.NaT))
    assert found > most_by_chance(OPTIONS.error_share, 200)


def test_the_gate_as_configured_keeps_its_word() -> None:
    """With conf/base: of 500 equal models no more pass than stated, of 200 clearly better ones at least 90%.

    Clearly better is a gain of 0.05 in ROC AUC here, on 1,200 rows of 40 days; of 0.03, fewer are found.
    """
    file = Path(__file__).parents[1] / "conf/base/parameters_gate.yml"
    options = GateOptions.model_validate(yaml.safe_load(file.read_text(encoding="utf-8"))["gate"])

    def passes(rows: pd.DataFrame) -> bool:
        found = comparison.compare(rows, options.metric, options.confidence, options.bootstrap_samples, seed=1)
        return bool(found["low"] > options.needed_gain)

    assert np.mean([passes(world(seed)) for seed in range(500)]) <= options.error_share
    better = [world(seed, incumbent_noise=0.8, challenger_noise=0.1) for seed in range(200)]
    assert np.mean([passes(rows) for rows in better]) >= 0.9


def test_a_better_model_passes() -> None:
    """At least nine of ten comparisons find the truly better model."""
    assert share_of_yes(200, lambda seed: world(seed, incumbent_noise=0.6, challenger_noise=0.1)) >= 0.9


def test_a_worse_model_does_not_pass() -> None:
    """With the models swapped, none of the comparisons says yes."""
    assert share_of_yes(50, lambda seed: world(seed, incumbent_noise=0.1, challenger_noise=0.6)) == 0
