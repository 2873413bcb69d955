"""Features by name, as callers of MLflow's and of the Open Inference protocol send them."""

import json
import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from ml_lifecycle.api.problems import DETAIL, Problem, short
from ml_lifecycle.api.records import LARGEST, LONGEST_PATH, Text, place_of
from ml_lifecycle.roles import TableRoles

Array = npt.NDArray[Any]
#: Of a feature: missing numbers are null, missing texts the empty text, as in training (``features.as_categories``).
Numbers = list[Annotated[float, Meta(ge=-LARGEST, le=LARGEST)] | None]
Texts = list[Text | None]


def refused(message: str, path: str = "$") -> Problem:
    """A body that holds no features of the model."""
    message, path = short(message, DETAIL), short(path, LONGEST_PATH)
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{message}, at {path}.", [{"path": path, "message": message}])


def read_json(body: bytes) -> Any:
    """Read JSON; NaN, which Python's clients write for a missing number, becomes null.

    Raises:
        Problem: 422.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        try:
            found = json.loads(body.decode(), parse_constant=_constant)
            msgspec.json.encode(found)  # halves of surrogate pairs, which Python's reader takes, are no text
        except (ValueError, RecursionError):
            raise refused(f"The body is no JSON: {error}") from None
        return found


def _constant(name: str) -> None:
    if name != "NaN":
        raise ValueError(name)


class Tensors:
    """Turns lists of values by name into the features of a model."""

    def __init__(self, roles: TableRoles, max_rows: int) -> None:
        self._numeric, self._names, self._max_rows = frozenset(roles.numeric), roles.columns, max_rows

    def of_columns(
        self, columns: Mapping[str, Any], path: str, places: Mapping[str, str] | None = None
    ) -> dict[str, Array]:
        """Check columns by name, a list of n values each, and turn them into arrays.

        Args:
            columns: by name.
            path: where they stand in the body.
            places: where each one stands, if it is not ``path`` and its name.

        Raises:
            Problem: 422, a column is missing, unknown, of another length, or holds something else.
        """
        self._refuse_other_names(columns, path)
        found = {}
        for name in self._names:
            place = (places or {}).get(name, f"{path}.{name}")
            found[name] = self._array(name, columns[name], place)
        lengths = {name: len(values) for name, values in found.items()}
        if len(set(lengths.values())) != 1:
            told = ", ".join(f"{name}: {length}" for name, length in list(lengths.items())[:3])
            raise refused(f"The columns differ in length ({told}, …)", path)
        rows = lengths[self._names[0]]
        if not 1 <= rows <= self._max_rows:
            raise refused(f"There are {rows} rows. Allowed: 1 to {self._max_rows}", path)
        return found

    def of_rows(self, rows: Sequence[Any], path: str) -> dict[str, Array]:
        """Check rows, an object with a value for each feature, and turn them into arrays by column.

        Raises:
            Problem: 422.
        """
        for number, row in enumerate(rows):
            if not isinstance(row, dict):
                raise refused(
                    f"Expected an object with a value for each feature, got {_named(row)}", f"{path}[{number}]"
                )
            self._refuse_other_names(row, f"{path}[{number}]")
        if not rows:
            raise refused(f"There are no rows. Allowed: 1 to {self._max_rows}", path)
        return self.of_columns({name: [row[name] for row in rows] for name in self._names}, path)

    def _array(self, name: str, values: Any, place: str) -> Array:
        is_number = name in self._numeric
        if isinstance(values, np.ndarray):
            return values
        try:
            if is_number:
                numbers = msgspec.convert(values, Numbers)
                return np.array(numbers, dtype=np.float64).astype(np.float32)
            texts = msgspec.convert(values, Texts)
        except msgspec.ValidationError as error:
            message, inner = place_of(error)
            raise refused(message, f"{place}{inner.removeprefix('$')}") from None
        return np.array(["" if text is None else text for text in texts], dtype=object)

    def _refuse_other_names(self, given: Mapping[str, Any], path: str) -> None:
        if missing := [name for name in self._names if name not in given]:
            raise refused(
                f"The features {', '.join(missing)} are missing. The model takes {', '.join(self._names)}", path
            )
        if unknown := sorted(set(given) - set(self._names)):
            name = short(unknown[0])
            close = get_close_matches(name, self._names, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise refused(f"'{name}' is no feature of this model.{hint} It takes {', '.join(self._names)}", path)


def as_json(computed: Mapping[str, Array]) -> bytes:
    """Write features by column, missing numbers as null."""
    return msgspec.json.encode({name: _plain(values) for name, values in computed.items()})


def _plain(values: Array) -> list[Any]:
    plain = values.tolist()
    if values.dtype.kind == "f":
        return [None if math.isnan(value) else value for value in plain]
    return list(plain)


def _named(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
