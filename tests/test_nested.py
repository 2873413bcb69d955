"""Nested mappings: flat, compared, laid over each other."""

from types import MappingProxyType
from typing import Any

import pytest

from ml_lifecycle.nested import differing, flat, merged


@pytest.mark.parametrize(
    ("nested", "expected"),
    [
        ({}, {}),
        ({"seed": 1}, {"seed": 1}),
        ({"m": {"name": "x", "deep": {"er": None}}, "seed": 1}, {"m.name": "x", "m.deep.er": None, "seed": 1}),
        ({"a": {}, "b": [{"c": 1}], "d": "e"}, {"b": [{"c": 1}], "d": "e"}),
        ({"a": MappingProxyType({"b": 1})}, {"a.b": 1}),
        ({1: {True: 2}}, {"1.True": 2}),
    ],
)  # fmt: skip
def test_keys_are_paths(nested: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each value that is no mapping stands under the path that leads to it, in the same order."""
    assert list(expected.items()) == list(flat(nested).items())


def test_what_is_given_stays_as_it_is() -> None:
    """The mapping itself is not changed."""
    nested = {"a": {"b": 1}}
    flat(nested)
    assert {"a": {"b": 1}} == nested


@pytest.mark.parametrize(
    ("values", "others", "expected"),
    [
        ({}, {"a": 1}, {}),
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {}, {"a": 1}),
        ({"a": None}, {}, {"a": None}),
        ({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}, "d": 3}, {"a": {"c": 2}}),
        ({"a": {"b": 1}}, {"a": 1}, {"a": {"b": 1}}),
        ({"a": [1, 2]}, {"a": [1]}, {"a": [1, 2]}),
    ],
)
def test_only_what_differs_is_kept(values: dict[str, Any], others: dict[str, Any], expected: dict[str, Any]) -> None:
    """What others have as well is left out, however deep; and laid over the others, it gives the values again."""
    assert expected == differing(values, others)
    assert values == {key: value for key, value in merged(others, expected).items() if key in values}


def test_laid_over_each_other() -> None:
    """The upper one wins, key by key; neither is changed."""
    below, above = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 4}, "e": 5}
    assert {"a": {"b": 1, "c": 4}, "d": 3, "e": 5} == merged(below, above)
    assert ({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 4}, "e": 5}) == (below, above)
