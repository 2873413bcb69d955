"""Environment variables that every process of this project starts with: ``defaults.env``."""

import os
from pathlib import Path

FILE = Path(__file__).with_suffix(".env")


def read() -> dict[str, str]:
    """Read the file: one ``NAME=value`` a line, ``#`` for comments."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def apply() -> None:
    """Set each variable that is not set: what the user has set stays."""
    for name, value in read().items():
        os.environ.setdefault(name, value)
