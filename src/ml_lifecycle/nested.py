"""Nested mappings as flat ones, whose keys are paths."""

from collections.abc import Mapping
from typing import Any


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Join the keys of nested mappings with dots, such as ``model.random_forest.n_estimators``."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def differing(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of nested mappings what others do not have, or have with another value."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        other = others.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            if different := differing(value, other):
                kept[key] = different
        elif key not in others or value != other:
            kept[key] = value
    return kept


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay nested mappings over others."""
    both = {key for key, value in above.items() if isinstance(value, Mapping) and isinstance(below.get(key), Mapping)}
    return {**below, **above, **{key: merged(below[key], above[key]) for key in both}}
