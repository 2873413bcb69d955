"""Silence with reasons: telemetry off, known third-party warnings off, everything else heard."""

import os
import warnings
from pathlib import Path
from typing import NamedTuple


class Silenced(NamedTuple):
    """A third-party warning that the user of this project can do nothing about."""

    message: str
    category: type[Warning]
    module: str
    reason: str


SILENCED: tuple[Silenced, ...] = ()


def telemetry_settings() -> dict[str, str]:
    """Read the variables of ``quiet.env``: one ``NAME=value`` a line, ``#`` for comments."""
    text = Path(__file__).with_name("quiet.env").read_text(encoding="utf-8")
    pairs = (line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value for name, value in pairs}


def be_quiet() -> None:
    """Switch telemetry off unless the user has set it, and the named warnings."""
    for name, value in telemetry_settings().items():
        os.environ.setdefault(name, value)
    for warning in SILENCED:
        warnings.filterwarnings("ignore", warning.message, warning.category, warning.module)
