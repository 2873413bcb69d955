"""Pictures: what is drawn, and that it is the same every time."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from ml_lifecycle import figures

QUALITY = {
    name: {metric: {"value": 0.8, "low": 0.75, "high": 0.85} for metric in ("roc_auc", "average_precision")}
    for name in ("model", "prevalence", "age_only")
}
BINS = [
    {"mean_score": 0.2, "observed": {"value": 0.25, "low": 0.2, "high": 0.3}},
    {"mean_score": 0.7, "observed": {"value": 0.6, "low": 0.5, "high": 0.65}},
]


@pytest.fixture(scope="module")
def labels() -> pd.Series:
    """Labels of four thousand rows."""
    return pd.Series(np.random.default_rng(1).integers(0, 2, 4000))


@pytest.fixture(scope="module")
def scores(labels: pd.Series) -> pd.DataFrame:
    """Scores of a model and two baselines, one of them constant."""
    noise = np.random.default_rng(2).random((2, 4000))
    return pd.DataFrame({"model": labels + 2 * noise[0], "prevalence": 0.3, "age_only": labels + 3 * noise[1]})


@pytest.fixture(scope="module")
def importance() -> pd.DataFrame:
    """Twenty-five features, the most important first."""
    losses = np.linspace(0.1, 0, 25)
    return pd.DataFrame({"feature": [f"f{n:02}" for n in range(25)], "mean": losses, "deviation": losses / 10})


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Rows of three months; only the last was judged."""
    return pd.DataFrame(
        {
            "value": [1, 1, 2, 2, 3, 3],
            "row_target": [0, 0, 0, 1, 1, 1],
            "model": [np.nan, np.nan, np.nan, np.nan, 0.5, 0.9],
        }
    )


def curves(figure: Figure) -> list[Any]:
    """The lines of the only panel."""
    return figure.axes[0].get_lines()


@pytest.mark.parametrize("draw", [figures.roc, figures.precision_recall], ids=["roc", "precision_recall"])
def test_every_model_has_a_labelled_curve(draw: Callable[..., Figure], labels: pd.Series, scores: pd.DataFrame) -> None:
    """There is one curve per model, and its label carries the figure with its interval."""
    shown = [line.get_label() for line in curves(draw(labels, scores, QUALITY))]
    assert [f"{name}: 0.800 [0.750, 0.850]" for name in scores] == shown


@pytest.mark.parametrize("draw", [figures.roc, figures.precision_recall], ids=["roc", "precision_recall"])
def test_long_curves_are_thinned_and_keep_their_ends(
    draw: Callable[..., Figure], labels: pd.Series, scores: pd.DataFrame
) -> None:
    """A curve of more points than an eye sees is drawn with 500, from one side to the other."""
    x = curves(draw(labels, scores, QUALITY))[0].get_xdata()
    assert (500, 0.0, 1.0) == (len(x), min(x), max(x))


def test_calibration_shows_every_bin(labels: pd.Series) -> None:
    """Each bin is a point of mean score and observed share."""
    diagonal, points = curves(figures.calibration(BINS))[:2]
    assert ([0.2, 0.7], [0.25, 0.6]) == (list(points.get_xdata()), list(points.get_ydata()))
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())


def test_importance_shows_the_first_features_from_the_top(importance: pd.DataFrame) -> None:
    """At most twenty features are shown, the most important at the top."""
    names = [label.get_text() for label in figures.importance(importance).axes[0].get_yticklabels()]
    assert [f"f{number:02}" for number in range(19, -1, -1)] == names


def test_rates_have_a_panel_for_each_column(rows: pd.DataFrame) -> None:
    """Each column has a panel that names it and the target."""
    figure = figures.rates("leaves", {"month": rows, "city": rows})
    assert ["Share of leaves by month", "Share of leaves by city"] == [axes.get_title() for axes in figure.axes]


def test_rates_are_means_of_all_rows_and_predictions_of_judged_ones(rows: pd.DataFrame) -> None:
    """Bars show all rows, marks only values that occur in the judge slice, above their own bar."""
    axes = figures.rates("leaves", {"month": rows}).axes[0]
    observed, predicted = axes.get_lines()
    assert [0.0, 0.5, 1.0] == [bar.get_height() for bar in axes.patches]
    assert ([2], [1.0], [2], [0.7]) == (
        list(observed.get_xdata()), list(observed.get_ydata()), list(predicted.get_xdata()), list(predicted.get_ydata())
    )  # fmt: skip


def test_numbers_are_written_without_trailing_zeros(rows: pd.DataFrame) -> None:
    """An hour that became a float is still written as a whole number."""
    axes = figures.rates("leaves", {"hour": rows.astype({"value": "float32"})}).axes[0]
    assert ["1", "2", "3"] == [label.get_text() for label in axes.get_xticklabels()]


@pytest.mark.parametrize("name", ["roc", "precision_recall", "calibration", "importance", "rates"])
def test_the_same_input_gives_the_same_picture(
    name: str, labels: pd.Series, scores: pd.DataFrame, importance: pd.DataFrame, rows: pd.DataFrame,
    freeze: Callable[[Any], bytes],
) -> None:  # fmt: skip
    """Drawn twice, a picture has the same bytes."""
    arguments: dict[str, tuple[Any, ...]] = {
        "roc": (labels, scores, QUALITY),
        "precision_recall": (labels, scores, QUALITY),
        "calibration": (BINS,),
        "importance": (importance,),
        "rates": ("leaves", {"month": rows}),
    }
    draw = getattr(figures, name)
    assert freeze(draw(*arguments[name])) == freeze(draw(*arguments[name]))
