"""Silence with reasons: telemetry off, known third-party warnings off, everything else heard."""

import os
import re
import warnings
from pathlib import Path
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


def telemetry_settings() -> dict[str, str]:
    """Read the variables of ``quiet.env``: one ``NAME=value`` a line, ``#`` for comments."""
    text = Path(__file__).with_name("quiet.env").read_text(encoding="utf-8")
    pairs = (line.partition("=") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def _is_silenced(message: Warning | str, category: type[Warning]) -> bool:
    return any(
        issubclass(category, warning.category) and re.match(warning.message, str(message)) for warning in SILENCED
    )


def be_quiet() -> None:
    """Switch telemetry off unless the user has set it, and drop the named warnings.

    They are dropped where warnings are shown, because MLflow resets the filters around its own.
    """
    for name, value in telemetry_settings().items():
        os.environ.setdefault(name, value)
    shown = warnings.showwarning
    if getattr(shown, "knows_silenced", False):
        return

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if not _is_silenced(message, category):
            shown(message, category, *where, **more)

    show.knows_silenced = True  # type: ignore[attr-defined]  # set once, however often this is called
    warnings.showwarning = show
