"""Metrics against scikit-learn, and the bootstrap."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from ml_lifecycle.metrics import METRICS, Bootstrap, Float, Scored, best_threshold, improvement, rounded

BINS = 4
REFERENCE: dict[str, Callable[..., float]] = {
    "roc_auc": reference.roc_auc_score,
    "average_precision": reference.average_precision_score,
    "log_loss": reference.log_loss,
    "brier": reference.brier_score_loss,
}


@st.composite
def samples(draw: st.DrawFn) -> tuple[Float, Float, Float]:
    """Labels of both classes, scores with many ties, and whole weights, of which some are zero."""
    rows = draw(st.integers(4, 40))
    score = st.integers(1, 19).map(lambda step: step / 20)
    scores = draw(st.lists(score, min_size=rows, max_size=rows))
    labels = draw(st.lists(st.integers(0, 1), min_size=rows - 2, max_size=rows - 2))
    weights = draw(st.lists(st.integers(0, 3), min_size=rows - 2, max_size=rows - 2))
    return np.array([0, 1, *labels], float), np.array(scores), np.array([1, 2, *weights], float)


@pytest.mark.parametrize("name", REFERENCE)
@given(samples())
def test_metrics_equal_scikit_learn(name: str, sample: tuple[Float, Float, Float]) -> None:
    """Each metric equals scikit-learn's, ties and weights included."""
    labels, scores, weights = sample
    expected = REFERENCE[name](labels, scores, sample_weight=weights)
    assert expected == pytest.approx(Scored.of(labels, scores, BINS).metrics(weights)[name], abs=1e-12, rel=1e-12)


@given(samples())
def test_the_calibration_gap_is_what_is_promised_less_what_happened(sample: tuple[Float, Float, Float]) -> None:
    """The gap is the weighted mean score less the weighted share of positives."""
    labels, scores, weights = sample
    expected = np.average(scores, weights=weights) - np.average(labels, weights=weights)
    assert expected == pytest.approx(Scored.of(labels, scores, BINS).metrics(weights)["calibration_gap"], abs=1e-12)


@given(samples())
def test_shares_of_the_bins_average_to_the_share_of_positives(sample: tuple[Float, Float, Float]) -> None:
    """Every row falls into exactly one calibration bin."""
    labels, scores, weights = sample
    scored = Scored.of(labels, scores, BINS)
    shares = scored.observed_by_bin(weights)
    mass = np.bincount(scored.bins, weights)
    found = sum(shares[str(number)] * held for number, held in enumerate(mass) if held)
    assert float((weights * labels).sum()) == pytest.approx(found, abs=1e-9)


@given(samples())
def test_whole_weights_count_as_repeated_rows(sample: tuple[Float, Float, Float]) -> None:
    """A row of weight 2 counts as two rows, in every decision count."""
    labels, scores, weights = sample
    again = np.repeat(np.arange(len(labels)), weights.astype(int))
    weighted = Scored.of(labels, scores, BINS).confusion(weights, 0.5)
    repeated = Scored.of(labels[again], scores[again], BINS).confusion(np.ones(len(again)), 0.5)
    np.testing.assert_equal(repeated, weighted)


def test_a_certain_and_wrong_answer_costs_a_finite_loss() -> None:
    """A probability of 0 for what happened costs the logarithm of 1e-7, not infinity."""
    found = Scored.of([1, 0], [0.0, 0.0], BINS).metrics(np.ones(2))
    assert -np.log(1e-7) / 2 == pytest.approx(found["log_loss"], rel=1e-6)


@pytest.mark.parametrize(("label", "undefined"), [(0, {"roc_auc", "average_precision"}), (1, {"roc_auc"})])
def test_a_slice_of_one_class_has_no_ranking_metrics(label: int, undefined: set[str]) -> None:
    """Without both classes the area under the curve is undefined, the other metrics are not."""
    found = Scored.of([label] * 3, [0.1, 0.5, 0.5], BINS).metrics(np.ones(3))
    assert undefined == {name for name, value in found.items() if np.isnan(value)}


def test_decisions_are_counted_at_the_threshold() -> None:
    """A score equal to the threshold decides for the positive label."""
    found = Scored.of([1, 0, 1, 0, 1], [0.9, 0.7, 0.5, 0.4, 0.1], BINS).confusion(np.ones(5), 0.5)
    expected = {
        "true_positives": 2,
        "false_positives": 1,
        "false_negatives": 1,
        "true_negatives": 1,
        "precision": 2 / 3,
        "recall": 2 / 3,
        "f1": 2 / 3,
    }
    assert expected == pytest.approx(found)


def test_nothing_decided_has_no_precision() -> None:
    """Without a decision for the positive label precision is undefined and recall 0."""
    found = Scored.of([1, 0], [0.2, 0.1], BINS).confusion(np.ones(2), 0.5)
    np.testing.assert_equal((np.nan, 0.0), (found["precision"], found["recall"]))


def test_without_positives_recall_and_f1_are_undefined() -> None:
    """A slice without positives and without alarms has neither recall nor F1."""
    found = Scored.of([0, 0], [0.2, 0.1], BINS).confusion(np.ones(2), 0.5)
    np.testing.assert_equal((np.nan, np.nan), (found["recall"], found["f1"]))


def test_calibration_bins_hold_equally_many_rows() -> None:
    """Bins are cut at quantiles of the scores; each has a mean score and an observed share."""
    scored = Scored.of([0, 1, 1, 1], [0.1, 0.2, 0.8, 0.9], 2)
    assert {"0": 0.15, "1": 0.85} == scored.mean_score_by_bin()
    assert {"0": 0.5, "1": 1.0} == scored.observed_by_bin(np.ones(4))


def test_equal_scores_share_one_calibration_bin() -> None:
    """A constant score makes one bin of all rows."""
    assert {"0": 0.75} == Scored.of([0, 1, 1, 1], [0.5] * 4, 10).observed_by_bin(np.ones(4))


def test_a_bin_that_a_draw_leaves_empty_has_no_share() -> None:
    """A bin whose rows all have weight 0 is undefined in that draw, without a warning."""
    shares = Scored.of([0, 1, 1, 1], [0.1, 0.2, 0.8, 0.9], 2).observed_by_bin(np.array([1.0, 1.0, 0.0, 0.0]))
    np.testing.assert_equal({"0": 0.5, "1": np.nan}, shares)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 99))
def test_rows_of_a_block_share_their_weight(blocks: list[int], seed: int) -> None:
    """A draw takes whole blocks: all rows of one have the same weight."""
    numbered = np.unique(blocks, return_inverse=True)[1]
    for weights in Bootstrap(numbered, 5, 0.9, seed).weights():
        assert len(set(numbered)) == len(set(zip(numbered, weights, strict=True)))


@given(st.integers(1, 20), st.integers(0, 99))
def test_a_draw_takes_as_many_blocks_as_there_are(count: int, seed: int) -> None:
    """The weights of one row per block sum to the number of blocks."""
    sums = [weights.sum() for weights in Bootstrap(np.arange(count), 5, 0.9, seed).weights()]
    assert [count] * 5 == sums


def _interval(seed: int, blocks: Any = None) -> dict[str, dict[str, float | None]]:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 200)
    scored = Scored.of(labels, (labels + random.random(200) * 3) / 4, 5)
    return Bootstrap(np.arange(200) if blocks is None else blocks, 60, 0.9, seed).interval(scored.metrics)


def test_the_same_seed_gives_the_same_interval() -> None:
    """Intervals can be reproduced."""
    assert _interval(seed=3) == _interval(seed=3)


def test_another_seed_gives_another_interval() -> None:
    """The draws follow the seed; the value itself does not."""
    one, other = _interval(seed=3)["roc_auc"], _interval(seed=4)["roc_auc"]
    assert (True, False) == (one["value"] == other["value"], one == other)


@pytest.mark.parametrize("name", METRICS)
def test_the_interval_encloses_most_draws(name: str) -> None:
    """Low and high are the quantiles of the drawn figures that leave out one tenth."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 200)
    scored = Scored.of(labels, (labels + random.random(200) * 3) / 4, 5)
    bootstrap = Bootstrap(np.arange(200), 60, 0.9, 3)
    drawn = [scored.metrics(weights)[name] for weights in bootstrap.weights()]
    expected = {
        "value": rounded(scored.metrics(np.ones(200))[name]),
        "low": rounded(np.quantile(drawn, 0.05)),
        "high": rounded(np.quantile(drawn, 0.95)),
    }
    assert expected == pytest.approx(bootstrap.interval(scored.metrics)[name])


def test_one_block_leaves_nothing_to_vary() -> None:
    """If all rows lie on one day, every draw is the whole slice."""
    found = _interval(seed=3, blocks=np.zeros(200, np.int64))["brier"]
    assert found["low"] == found["value"] == found["high"]


def test_an_undefined_figure_is_none() -> None:
    """A slice of one class reports no area, no low and no high."""
    scored = Scored.of([0, 0, 0], [0.1, 0.2, 0.3], 2)
    found = Bootstrap(np.arange(3), 50, 0.9, 0).interval(scored.metrics)
    assert {"value": None, "low": None, "high": None} == found["roc_auc"]


def test_draws_without_a_class_are_left_out_of_the_interval() -> None:
    """A rare class that some draws miss still has an interval."""
    scored = Scored.of([1, 0, 0, 0], [0.9, 0.1, 0.2, 0.3], 2)
    found = Bootstrap(np.arange(4), 50, 0.9, 0).interval(scored.metrics)
    assert {"value": 1.0, "low": 1.0, "high": 1.0} == found["roc_auc"]


def test_improvement_is_positive_where_the_model_is_better() -> None:
    """A larger area, smaller losses and a gap closer to zero from either side are improvements."""
    model = {"roc_auc": 0.8, "average_precision": 0.5, "log_loss": 0.3, "brier": 0.1, "calibration_gap": -0.04}
    worse = {"roc_auc": 0.7, "average_precision": 0.4, "log_loss": 0.4, "brier": 0.2, "calibration_gap": 0.14}
    assert dict.fromkeys(METRICS, 0.1) == pytest.approx(improvement(model, worse))


@given(samples())
def test_the_best_threshold_reaches_the_highest_f1(sample: tuple[Float, Float, Float]) -> None:
    """No score would do better as a threshold."""
    labels, scores, _ = sample
    scored, once = Scored.of(labels, scores, BINS), np.ones(len(labels))
    reached = {score: scored.confusion(once, score)["f1"] for score in scores}
    assert max(reached.values()) == pytest.approx(reached[best_threshold(labels, scores)])


def test_the_best_threshold_is_a_score_to_the_last_bit() -> None:
    """A threshold chosen among float32 scores decides for the row it comes from."""
    scores = np.array([0.1, 0.3, 0.7], dtype=np.float32)
    threshold = best_threshold(np.array([0, 1, 1]), scores)
    assert [False, True, True] == (scores >= threshold).tolist()
