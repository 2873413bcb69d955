"""The model card: every figure of it comes from the run."""

from typing import Any

import jinja2
import pandas as pd
import pytest

from ml_lifecycle import metrics, model_card
from ml_lifecycle.onnx_model import OnnxModel

FIGURE = {"value": 0.741, "low": 0.73, "high": 0.752}
COUNT = {"value": 40.0, "low": 30.0, "high": 50.0}
COUNTS = ("true_positives", "false_positives", "false_negatives", "true_negatives")


@pytest.fixture
def facts(onnx_model: OnnxModel) -> dict[str, Any]:
    """All that a card is made of."""
    return {
        "model": onnx_model,
        "evaluation": {
            "rows": 12345,
            "confidence": 0.9,
            "bootstrap_samples": 50,
            "model": {"roc_auc": FIGURE},
            "baselines": {"prevalence": {"roc_auc": FIGURE | {"value": 0.5}}},
            "threshold": 0.4,
            "decisions": dict.fromkeys(("precision", "recall", "f1"), FIGURE) | dict.fromkeys(COUNTS, COUNT),
            "export": {"rows": 321, "largest_difference": 1.2e-7, "above_1e-5": 0, "tolerance": 1e-5},
        },
        "slice_metrics": pd.DataFrame(
            [
                {"column": "city", "part": "Bonn", "rows": 1200, "positives": 7, "metric": "roc_auc", **FIGURE},
                {"column": "city", "part": "Lyon", "rows": 5, "positives": 0, "metric": "roc_auc", "value": None},
                {"column": "city", "part": "Lyon", "rows": 5, "positives": 0, "metric": "brier", **FIGURE},
            ]
        ),
        "importance": pd.DataFrame({"feature": ["age"], "mean": [0.0123], "deviation": [0.001]}),
        "chosen_options": {"estimator": "random_forest", "options": {"max_depth": None, "n_jobs": 1}, "trials": [{}]},
        "data_report": {
            "raw_inputs": {"customers": {"md5": "0123abcd"}},
            "rows": {"customers": {"in": 13000, "kept": 12900, "quarantined": {"no label": 100}}},
            "slices": {"train": {"rows": 1000, "positives": 250, "from": "2013-01-01", "until": None}},
        },
    }


@pytest.mark.parametrize(
    ("figure", "digits", "text"),
    [
        (FIGURE, 3, "0.741 [0.730, 0.752]"),
        (COUNT, 0, "40 [30, 50]"),
        ({"value": None, "low": None, "high": None}, 3, "undefined"),
        ({"value": 0.5, "low": None, "high": None}, 3, "0.500"),
        ({"value": 0.0, "low": 0.0, "high": 0.0}, 3, "0.000 [0.000, 0.000]"),
    ],
)
def test_figures_are_written_with_their_interval(figure: dict[str, float | None], digits: int, text: str) -> None:
    """A figure is a value with its interval, a value alone, or undefined."""
    assert text == metrics.interval(figure, digits)


@pytest.mark.parametrize(
    "line",
    [
        "# Model card: leaves or stays",
        "| Estimator | `random_forest` with `max_depth=None`, `n_jobs=1` |",
        "| Candidates searched | 1 |",
        "| `customers` | `0123abcd` | 13,000 | 12,900 | 100 |",
        "* 100 of `customers`: no label",
        "| train | 1,000 | 25.0 % | 2013-01-01 | – |",
        "| Metric | model | prevalence | ",
        "|---|---|---|",
        "| roc_auc | 0.741 [0.730, 0.752] | 0.500 [0.730, 0.752] | ",
        "| was leaves | 40 [30, 50] | 40 [30, 50] |",
        "| city | Bonn | 1,200 | 0.741 [0.730, 0.752] |",
        "| city | Lyon | 5 | undefined |",
        "| `age` | 0.0123 ± 0.0010 |",
    ],
)
def test_the_card_shows_the_facts(line: str, facts: dict[str, Any]) -> None:
    """Data, quality, slices, importance and options each have their line."""
    assert line in model_card.render(**facts).splitlines()


def test_the_card_names_the_model_by_its_digest(facts: dict[str, Any], onnx_model: OnnxModel) -> None:
    """The digest of the file identifies the model that the card describes."""
    assert f"`{onnx_model.digest}`" in model_card.render(**facts)


def test_only_the_area_is_shown_by_slice(facts: dict[str, Any]) -> None:
    """Of the metrics of a slice the card shows the ROC AUC."""
    assert 2 == model_card.render(**facts).count("| city |")


def test_without_slices_there_is_no_section_for_them(facts: dict[str, Any]) -> None:
    """A card without slices has no empty table."""
    facts["slice_metrics"] = facts["slice_metrics"].head(0)
    assert "Quality by slice" not in model_card.render(**facts)


@pytest.mark.parametrize("part", ["threshold", "export", "confidence", "decisions"])
def test_a_fact_that_is_missing_is_an_error(part: str, facts: dict[str, Any]) -> None:
    """A card with a gap is not written."""
    del facts["evaluation"][part]
    with pytest.raises(jinja2.UndefinedError, match=part):
        model_card.render(**facts)


def test_the_page_holds_the_body() -> None:
    """The HTML page is complete, and the body stands in it unchanged."""
    page = model_card.page("<p>5 &lt; 6</p>")
    assert page.startswith("<!doctype html>")
    assert "<body>\n<p>5 &lt; 6</p>\n</body>" in page
