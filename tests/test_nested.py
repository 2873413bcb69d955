"""Nested mappings as flat ones."""

from types import MappingProxyType
from typing import Any

import pytest

from ml_lifecycle.nested import flat


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
