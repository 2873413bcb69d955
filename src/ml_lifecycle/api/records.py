"""The records that a model is asked with: their types come from the model's roles."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import cached_property
from http import HTTPStatus
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from ml_lifecycle import features
from ml_lifecycle.api.problems import Problem, short
from ml_lifecycle.request_columns import RequestColumn
from ml_lifecycle.roles import TableRoles

#: Whole numbers up to here are told apart by JSON readers that know doubles only (RFC 8259, section 6).
WHOLE = 2**53
#: The largest number that the model can take.
LARGEST = float(np.finfo(np.float32).max)
#: Characters; longer texts are no categories.
LONGEST_TEXT = 200
NAMES_TOLD = 60
#: Characters of a place in a body.
LONGEST_PATH = 300
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_LOCAL_EPOCH = _EPOCH.replace(tzinfo=None)
_NO_MOMENT = int(np.datetime64("NaT").astype(np.int64))
_SOME_DAY = "2000-01-01T12:00:00"
_PLACE = re.compile(r"^(.*?)(?: - at `(.*)`)?$", re.DOTALL)
_FIELD = re.compile(r"(?:unknown|missing required) field `(.*)`", re.DOTALL)

Text = Annotated[str, Meta(max_length=LONGEST_TEXT)]


def _type_of(column: RequestColumn) -> Any:
    about = Meta(description=column.about) if column.about else None
    match column.kind:
        case "text":
            base: Any = Text
        case "number":
            lowest = -LARGEST if column.minimum is None else column.minimum
            base = Annotated[float, Meta(ge=lowest, le=LARGEST)]
        case "whole":
            lowest = -WHOLE if column.minimum is None else int(column.minimum)
            base = Annotated[int, Meta(ge=int(lowest), le=WHOLE)]
        case "moment":
            base = Annotated[datetime, Meta(tz=column.time_zone is not None)]
    if about is not None:
        base = Annotated[base, about]
    return base | None if column.nullable else base


class Records:
    """What stands in a request, as types, and how it becomes columns.

    A record has every column that the model's features need; a value may be null where it may be missing. It may
    also have those that are known by the same moment and that the model does not need, and a key of its own. Nothing
    else is taken: a column that is known only later cannot slip in.
    """

    def __init__(self, roles: TableRoles, max_rows: int) -> None:
        """Make the types.

        Args:
            roles: of the model.
            max_rows: of one request.
        """
        self.needed = features.request_columns(roles.feature_set, roles.numeric, roles.categorical)
        self.also_taken = features.also_known(roles.feature_set, self.needed)
        self._key = roles.key
        self._max_rows = max_rows
        self._numbers = [column for column in self.needed if column.kind in ("number", "whole")]
        self._others = [column for column in self.needed if column.kind not in ("number", "whole")]
        self.type = self._make_type()
        self._decoder = msgspec.json.Decoder(
            self.type | Annotated[list[self.type], Meta(min_length=1, max_length=max_rows)]  # type: ignore[name-defined]
        )
        self._numbers_of = self._getter(self._numbers)
        self._others_of = self._getter(self._others)
        self._key_of = attrgetter(self._field(self._key))

    @cached_property
    def _fields(self) -> dict[str, str]:
        """Columns may have any name, Python's attributes may not."""
        return {name: f"f{number}" for number, name in enumerate(self._names())}

    def _names(self) -> list[str]:
        names = [column.name for column in (*self.needed, *self.also_taken)]
        return names if self._key in names else [self._key, *names]

    def _field(self, name: str) -> str:
        return self._fields[name]

    def _make_type(self) -> type[msgspec.Struct]:
        by_name = {column.name: column for column in (*self.needed, *self.also_taken)}
        asked = {column.name for column in self.needed}
        required: list[tuple[str, Any]] = []
        optional: list[tuple[str, Any, Any]] = []
        for name in self._names():
            column = by_name.get(name)
            if column is None:
                key = Annotated[Text | int | None, Meta(description="names the request; comes back in the log")]
                optional.append((self._field(name), key, None))
            elif name in asked:
                required.append((self._field(name), _type_of(column)))
            else:
                optional.append((self._field(name), _type_of(column) | None, None))
        names = {field: name for name, field in self._fields.items()}
        return msgspec.defstruct(
            "Record", [*required, *optional], rename=names, forbid_unknown_fields=True, gc=False, frozen=True
        )

    def _getter(self, columns: Sequence[RequestColumn]) -> Any:
        names = [self._field(column.name) for column in columns]
        if len(names) == 1:
            only = attrgetter(names[0])
            return lambda record: (only(record),)
        return attrgetter(*names) if names else lambda _: ()

    def decode(self, body: bytes) -> tuple[list[msgspec.Struct], bool]:
        """Read one record, or many.

        Returns:
            The records, and whether it was a single one.

        Raises:
            Problem: 422, with the place in the body.
        """
        try:
            found = self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._problem(body, error) from None
        return (found, False) if isinstance(found, list) else ([found], True)

    def keys(self, records: Sequence[msgspec.Struct]) -> list[str | None]:
        """The key of each record, None where it has none."""
        return [None if key is None else str(key) for key in map(self._key_of, records)]

    def columns(self, records: Sequence[msgspec.Struct]) -> dict[str, npt.NDArray[Any]]:
        """Turn records into one array per needed column.

        Numbers are float64, which holds every whole number that is allowed; missing ones are NaN. Moments are
        datetime64 in microseconds, those with a time zone in UTC.
        """
        found: dict[str, npt.NDArray[Any]] = {}
        if self._numbers:
            matrix = np.array([self._numbers_of(record) for record in records], dtype=np.float64).T
            found = {column.name: values for column, values in zip(self._numbers, matrix, strict=True)}
        for column, values in zip(self._others, zip(*map(self._others_of, records), strict=True), strict=True):
            found[column.name] = np.array(values, dtype=object) if column.kind == "text" else as_moments(column, values)
        return found

    def _problem(self, body: bytes, error: Exception) -> Problem:
        message, path = place_of(error)
        if not isinstance(error, msgspec.ValidationError):
            path, message = _not_finite(body) or (path, message)
        if field := _FIELD.search(message):
            name = short(field[1])
            path, message = f"{path}.{name}", message.replace(field[1], name)
            message += f".{self._hint(name)}" if field[1] not in self._fields else ""
        path = short(path, LONGEST_PATH)
        return Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"The body is no record, and no list of 1 to {self._max_rows} records, as this model is asked with: "
            f"{message}, at {path}. GET /model tells what a record has.",
            [{"path": path, "message": message}],
        )

    def _hint(self, name: str) -> str:
        close = get_close_matches(name, self._fields, n=1)
        meant = f" Did you mean '{close[0]}'?" if close else ""
        names = list(self._fields)
        told = ", ".join(names[:NAMES_TOLD]) + (", …" if len(names) > NAMES_TOLD else "")
        return f"{meant} Allowed: {told}"

    def schema(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Describe a record as JSON Schema.

        Returns:
            The schema of a record, and the definitions it refers to.
        """
        (schema,), definitions = msgspec.json.schema_components([self.type], ref_template="#/components/schemas/{name}")
        return schema, definitions

    def example(self, row: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make a record that is allowed: the columns' own examples, or the values of a row of the model's example."""
        given = row or {}
        return {column.name: _example_of(column, given.get(column.name)) for column in self.needed}


def as_moments(column: RequestColumn, values: Sequence[datetime | None]) -> npt.NDArray[np.datetime64]:
    """Convert the moments of a column by counting, which is faster than numpy's own conversion."""
    epoch = _LOCAL_EPOCH if column.time_zone is None else _EPOCH
    counted = [_NO_MOMENT if value is None else (value - epoch) // _MICROSECOND for value in values]
    return np.array(counted, dtype=np.int64).view("datetime64[us]")


def _example_of(column: RequestColumn, given: Any) -> Any:
    is_missing = given is None or (isinstance(given, float) and math.isnan(given))
    found = column.example if is_missing else given
    if found is None and not column.nullable:
        lowest = max(column.minimum or 0, 0)
        found = {"text": "", "moment": _SOME_DAY + ("Z" if column.time_zone else "")}.get(column.kind, lowest)
    return int(found) if column.kind == "whole" and found is not None else found


def place_of(error: Exception) -> tuple[str, str]:
    """Split what msgspec says into what is wrong and where."""
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 from byte {error.start} of a text on", "$"
    found = _PLACE.match(str(error))
    message, path = (found[1], found[2]) if found else (str(error), None)
    return message, path or "$"


def _not_finite(body: bytes) -> tuple[str, str] | None:
    """Find NaN, Infinity or a number beyond all bounds, which Python's reader takes and JSON has not.

    Returns:
        Its place and what is wrong with it.
    """
    try:
        content = json.loads(body.decode())
        found = _first(content, ())
    except (ValueError, RecursionError):
        return None
    if found is None:
        return None
    steps, value = found
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return f"${path}", f"Expected a finite number, got {value}"


def _first(content: Any, steps: tuple[str | int, ...]) -> tuple[tuple[str | int, ...], float] | None:
    if isinstance(content, float):
        return None if math.isfinite(content) else (steps, content)
    parts = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for step, value in parts:
        if isinstance(value, dict | list | float) and (found := _first(value, (*steps, step))):
            return found
    return None
