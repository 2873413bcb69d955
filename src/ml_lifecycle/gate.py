"""The gate: may a version have an alias? Each rule answers yes, no or cannot decide, with its figures.

Nothing is read or measured here. What is missing, undefined or not a number is never a yes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from numbers import Real
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from ml_lifecycle import comparison, metrics
from ml_lifecycle.parameters import GateOptions

DIGITS = 4


class Answer(StrEnum):
    """What a rule says."""

    YES = "yes"
    NO = "no"
    CANNOT = "cannot decide"


class RuleAnswer(BaseModel):
    """What one rule says about a version: what was found, and what is needed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: str
    answer: Answer
    explanation: str
    figures: dict[str, Any] = {}


@dataclass(frozen=True)
class Evidence:
    """What is known about a version when it is judged.

    Attributes:
        alias: the one it would get.
        provenance_gaps: what its record lacks; None if there is no readable record.
        dirty: whether it was made with uncommitted changes; None if that is not known.
        signature: what came of checking it; ``unchecked`` where that is impossible, for want of a key.
        signature_detail: whose signature it is, why it was refused, or why it was not checked.
        uncommitted: parameters of the gate that the commit gives otherwise; None if that is not known.
        baselines: those it must be better than; None if they are not known.
        other_question: parameters that say what is predicted, and in which it differs from the incumbent; None if that
            is not known.
        evaluation: its evaluation.json; None if there is none.
        tolerance: of the export, as a difference in probability.
        latency_ms: median time of a single prediction; None if it was not measured.
        incumbent: number of the version behind the alias; None if there is none.
        rows: the judge rows, scored now by both: ``comparison.COLUMNS`` and the slice columns;
            None if they are not available.
        rows_problem: why they are not.
    """

    alias: str
    provenance_gaps: list[str] | None
    dirty: bool | None
    signature: Literal["verified", "refused", "unchecked"]
    signature_detail: str
    uncommitted: list[str] | None
    baselines: list[str] | None
    other_question: list[str] | None
    evaluation: dict[str, Any] | None
    tolerance: float
    latency_ms: float | None
    incumbent: str | None
    rows: pd.DataFrame | None
    rows_problem: str = ""


def judge(evidence: Evidence, options: GateOptions, seed: int) -> list[RuleAnswer]:
    """Ask every rule; ``seed`` starts the draws of the comparison with the incumbent."""
    return [
        _provenance(evidence),
        _clean_tree(evidence, options),
        _bounds(evidence),
        _parity(evidence),
        _signature(evidence),
        _floors(evidence, options),
        _baselines(evidence, options),
        _question(evidence),
        _incumbent(evidence, options, seed),
        _slices(evidence, options),
        _latency(evidence, options),
    ]


def overall(answers: Iterable[RuleAnswer]) -> Answer:
    """One no is a no; otherwise one open question leaves it open. No answers at all do, too."""
    return _worst(answer.answer for answer in answers)


def _worst(answers: Iterable[Answer]) -> Answer:
    given = set(answers)
    if Answer.NO in given:
        return Answer.NO
    return Answer.YES if given == {Answer.YES} else Answer.CANNOT


def _decided(*, holds: bool) -> Answer:
    return Answer.YES if holds else Answer.NO


def _number(report: Any, *path: str) -> float | None:
    """Find a number in a report; None if it is missing, or is no finite number."""
    for name in path:
        report = report.get(name) if isinstance(report, dict) else None
    usable = isinstance(report, Real) and not isinstance(report, bool) and np.isfinite(float(report))
    return float(report) if usable else None


def _summary(rule: str, found: list[tuple[Answer, str]], **figures: Any) -> RuleAnswer:
    """One answer from several findings: the worst of them, explained by all."""
    explanation = "; ".join(text for _, text in found)
    return RuleAnswer(rule=rule, answer=_worst(answer for answer, _ in found), explanation=explanation, figures=figures)


def _single(rule: str, answer: Answer, explanation: str, **figures: Any) -> RuleAnswer:
    return _summary(rule, [(answer, explanation)], **figures)


def _provenance(evidence: Evidence) -> RuleAnswer:
    gaps = evidence.provenance_gaps
    if gaps is None:
        return _single("provenance", Answer.CANNOT, "the version has no readable record of its origin")
    explanation = f"the record lacks {len(gaps)} parts{': ' if gaps else ''}{', '.join(gaps)}; needed: 0"
    return _single("provenance", _decided(holds=not gaps), explanation, gaps=gaps)


def _clean_tree(evidence: Evidence, options: GateOptions) -> RuleAnswer:
    if evidence.alias not in options.clean_tree:
        asked = ", ".join(options.clean_tree) or "no alias"
        return _single("clean_tree", Answer.YES, f"not asked for {evidence.alias}, only for {asked}")
    known = {
        True: (Answer.NO, "made with uncommitted changes; needed: a commit without any"),
        False: (Answer.YES, "made from a commit without changes"),
        None: (Answer.CANNOT, "not recorded whether there were uncommitted changes"),
    }
    return _summary("clean_tree", [known[evidence.dirty]], dirty=evidence.dirty)


def _bounds(evidence: Evidence) -> RuleAnswer:
    changed = evidence.uncommitted
    if changed is None:
        return _single("bounds", Answer.CANNOT, "it is not known whether the bounds of the gate are committed")
    told = f": {', '.join(changed)}" if changed else ""
    explanation = f"{len(changed)} parameters of the gate are not those of the commit{told}; needed: 0"
    return _single("bounds", _decided(holds=not changed), explanation, changed=changed)


def _question(evidence: Evidence) -> RuleAnswer:
    differing = evidence.other_question
    if evidence.incumbent is None:
        return _single("question", Answer.YES, f"0 versions are behind {evidence.alias}: there is none to compare with")
    if differing is None:
        return _single("question", Answer.CANNOT, f"it is not known what version {evidence.incumbent} predicts")
    told = f": {', '.join(differing)}" if differing else ""
    explanation = f"asked otherwise than version {evidence.incumbent} in {len(differing)} parameters{told}; needed: 0"
    return _single("question", Answer.CANNOT if differing else Answer.YES, explanation, differing=differing)


def _parity(evidence: Evidence) -> RuleAnswer:
    found, tolerance = _number(evidence.evaluation, "export", "largest_difference"), _number(evidence.tolerance)
    if found is None or tolerance is None:
        explanation = f"difference between scikit-learn and ONNX: {found}; needed: at most {tolerance}"
        return _single("parity", Answer.CANNOT, explanation)
    explanation = f"scikit-learn and ONNX differ by up to {found:g}; needed: at most {tolerance:g}"
    return _single("parity", _decided(holds=found <= tolerance), explanation, value=found, needed=tolerance)


def _signature(evidence: Evidence) -> RuleAnswer:
    answers = {"verified": Answer.YES, "refused": Answer.NO}
    detail = f": {evidence.signature_detail}" if evidence.signature_detail else ""
    answer = answers.get(evidence.signature, Answer.CANNOT)
    return _single("signature", answer, f"{evidence.signature}{detail}; needed: verified")


def _floors(evidence: Evidence, options: GateOptions) -> RuleAnswer:
    found = [
        *(_bounded(evidence, name, "least", bound) for name, bound in sorted(options.floors.items())),
        *(_bounded(evidence, name, "most", bound) for name, bound in sorted(options.ceilings.items())),
    ]
    return _summary("floors", found or [(Answer.YES, "0 floors and 0 ceilings are configured")])


def _bounded(evidence: Evidence, metric: str, side: Literal["least", "most"], bound: float) -> tuple[Answer, str]:
    needed = f"needed: at {side} {bound:g}"
    found = _number(evidence.evaluation, "model", metric, "value")
    if found is None:
        return Answer.CANNOT, f"{metric} is missing or undefined, {needed}"
    size = abs(found) if metric == "calibration_gap" else found
    return _decided(holds=size >= bound if side == "least" else size <= bound), f"{metric} {found:.{DIGITS}f}, {needed}"


def _baselines(evidence: Evidence, options: GateOptions) -> RuleAnswer:
    gains = (evidence.evaluation or {}).get("improvements")
    if not isinstance(gains, dict) or not gains:
        return _single("baselines", Answer.CANNOT, "the evaluation compares with 0 baselines; needed: at least 1")
    if evidence.baselines is None:
        return _single("baselines", Answer.CANNOT, "it is not known which baselines the version must beat")
    names = dict.fromkeys([*evidence.baselines, *gains])
    found = [_beaten(gains, baseline, metric) for baseline in names for metric in options.baseline_metrics]
    return _summary("baselines", found, improvements=gains)


def _beaten(gains: dict[str, Any], baseline: str, metric: str) -> tuple[Answer, str]:
    figure = {part: _number(gains, baseline, metric, part) for part in ("value", "low", "high")}
    found = f"gain over {baseline} in {metric}: {metrics.interval(figure, DIGITS)}, needed: low above 0"
    low = figure["low"]
    return (Answer.CANNOT if low is None else _decided(holds=low > 0)), found


def _comparable(evidence: Evidence) -> pd.DataFrame | str:
    """Return the rows both models were scored on, or say why there are none to compare."""
    if evidence.rows is None:
        return evidence.rows_problem or "there are no rows that both models were scored on"
    return comparison.problem(evidence.rows) or evidence.rows


def _incumbent(evidence: Evidence, options: GateOptions, seed: int) -> RuleAnswer:
    if evidence.incumbent is None:
        return _single("incumbent", Answer.YES, f"0 versions are behind {evidence.alias}: there is none to beat")
    rows = _comparable(evidence)
    if isinstance(rows, str):
        return _single("incumbent", Answer.CANNOT, f"not comparable with version {evidence.incumbent}: {rows}")
    found = comparison.compare(rows, options.metric, options.confidence, options.bootstrap_samples, seed)
    needed = options.needed_gain
    explanation = (
        f"gain over version {evidence.incumbent} in {options.metric}: {metrics.interval(found, DIGITS)} "
        f"({found['challenger']} against {found['incumbent']}, {found['rows']:,} rows, {found['blocks']:,} days); "
        f"needed for {options.comparison}: low above {needed:g}; a version whose true gain is just that passes "
        f"in about {options.error_share:.1%} of comparisons"
    )
    low = found["low"]
    answer = Answer.CANNOT if low is None else _decided(holds=low > needed)
    return _single("incumbent", answer, explanation, **found, needed=needed, error_share=options.error_share)


def _slices(evidence: Evidence, options: GateOptions) -> RuleAnswer:
    if not options.slices:
        return _single("slices", Answer.YES, "0 slice columns are configured")
    if evidence.incumbent is None:
        return _single("slices", Answer.YES, f"0 versions are behind {evidence.alias}: there is none to compare with")
    rows = _comparable(evidence)
    if isinstance(rows, str):
        return _single("slices", Answer.CANNOT, f"not comparable with version {evidence.incumbent}: {rows}")
    rows = _with_month(rows)
    if lacking := [column for column in options.slices if column not in rows]:
        explanation = f"the rows lack {', '.join(lacking)}; gate.slices needs {', '.join(options.slices)}"
        return _single("slices", Answer.CANNOT, explanation, lacking=lacking)
    return _worst_part(list(_parts(rows, options)), options)


def _with_month(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the month where every row has a time."""
    return rows if rows["row_time"].isna().any() else rows.assign(month=rows["row_time"].dt.strftime("%Y-%m"))


def _parts(rows: pd.DataFrame, options: GateOptions) -> Iterator[dict[str, Any]]:
    """Compare on each part that is large enough and has both labels; missing values are a part, too."""
    for column in options.slices:
        for part, inside in rows.groupby(column, dropna=False, observed=True):
            if len(inside) >= options.slice_min_rows and 0 < inside["row_target"].sum() < len(inside):
                yield {"column": column, "part": str(part), **comparison.difference(inside, options.metric)}


def _worst_part(parts: list[dict[str, Any]], options: GateOptions) -> RuleAnswer:
    size = f"at least {options.slice_min_rows:,} rows and both labels"
    if not parts:
        explanation = f"0 parts of {', '.join(options.slices)} have {size}: there is nothing to compare"
        return _single("slices", Answer.YES, explanation, parts=0)
    parts = sorted(parts, key=lambda part: part["value"])
    worse = [part for part in parts if part["value"] < -options.slice_max_loss]
    shown = ", ".join(f"{part['column']} {part['part']} {part['value']:+.{DIGITS}f}" for part in worse or parts[:1])
    explanation = (
        f"{len(worse)} of {len(parts)} parts with {size} lose more than {options.slice_max_loss:g} in "
        f"{options.metric}; {'they are' if worse else 'the worst is'} {shown}; needed: 0"
    )
    return _single("slices", _decided(holds=not worse), explanation, parts=len(parts), worst=parts[0], worse=worse)


def _latency(evidence: Evidence, options: GateOptions) -> RuleAnswer:
    found, needed = _number(evidence.latency_ms), options.max_latency_ms
    if found is None:
        return _single("latency", Answer.CANNOT, f"a single prediction was not timed; needed: at most {needed:g} ms")
    explanation = f"a single prediction takes {found:.2f} ms; needed: at most {needed:g} ms"
    return _single("latency", _decided(holds=found <= needed), explanation, value=found, needed=needed)
