"""The model card: what the model is, what it was made of, how good it is and where it is not.

After Mitchell et al. 2019, Model Cards for Model Reporting.
"""

from typing import Any

import jinja2
import pandas as pd

from ml_lifecycle.metrics import interval
from ml_lifecycle.onnx_model import OnnxModel

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("ml_lifecycle", "templates"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - Markdown; the HTML page is made from it by the markdown library
)


_TEMPLATES.filters["interval"] = interval
_TEMPLATES.filters["thousands"] = lambda number: f"{number:,}"


def render(
    model: OnnxModel,
    evaluation: dict[str, Any],
    slice_metrics: pd.DataFrame,
    importance: pd.DataFrame,
    chosen_options: dict[str, Any],
    data_report: dict[str, Any],
) -> str:
    """Fill the card's template; a name that is missing is an error, not a gap."""
    areas = slice_metrics[slice_metrics["metric"] == "roc_auc"] if len(slice_metrics) else slice_metrics
    return _TEMPLATES.get_template("model_card.md.j2").render(
        roles=model.roles,
        digest=model.digest,
        evaluation=evaluation,
        slices=areas.astype(object).where(areas.notna(), None).to_dict(orient="records"),
        importance=importance.head(10).to_dict(orient="records"),
        chosen=chosen_options,
        data=data_report,
    )


def page(body: str) -> str:
    """Put the body of the card into a page of its own."""
    return _TEMPLATES.get_template("page.html.j2").render(title="Model card", body=body)
