"""Silence with reasons: known third-party warnings off, everything else heard."""

import re
import warnings
from typing import Any, NamedTuple


class Silenced(NamedTuple):
    """A third-party warning that nobody who uses this project can act on."""

    message: str
    category: type[Warning]
    reason: str


SILENCED = (
    Silenced(
        r"(?s).*Add type hints to the `predict` method",
        UserWarning,
        "kedro-mlflow 2.0.3 defines a Python model without type hints as it is imported; it is not used here",
    ),
)


def _is_silenced(message: Warning | str, category: type[Warning]) -> bool:
    return any(
        issubclass(category, warning.category) and re.match(warning.message, str(message)) for warning in SILENCED
    )


def be_quiet() -> None:
    """Drop the named warnings where they are shown, because MLflow resets the filters around its own."""
    shown = warnings.showwarning
    if getattr(shown, "knows_silenced", False):
        return

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if not _is_silenced(message, category):
            shown(message, category, *where, **more)

    show.knows_silenced = True  # type: ignore[attr-defined]  # set once, however often this is called
    warnings.showwarning = show
