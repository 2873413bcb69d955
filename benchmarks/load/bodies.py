"""Requests with real values, in each form that a service takes."""

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml_lifecycle import features
from ml_lifecycle.onnx_model import OnnxModel

#: Bodies of several rows overlap, so that there are many different ones.
OVERLAP = 5


def _plain(values: npt.NDArray[Any]) -> list[Any]:
    """Values as JSON knows them: no NaN, and times as ISO 8601 has them."""
    if values.dtype.kind == "M":
        return [str(value) for value in np.datetime_as_string(values, unit="s")]
    if values.dtype == np.float32:  # the shortest number that is this one again as float32
        values = np.array([float(str(value)) for value in values])
    return [value.isoformat() if hasattr(value, "isoformat") else _none_if_missing(value) for value in values.tolist()]


def _none_if_missing(value: Any) -> Any:
    return None if isinstance(value, float) and np.isnan(value) else value


class Rows:
    """Rows of the request table, with what the model says to each."""

    def __init__(self, model: OnnxModel, requests: pd.DataFrame) -> None:
        """Compute features and probabilities.

        Args:
            model: whose columns are asked for.
            requests: at least as many rows as a body has.
        """
        roles = model.roles
        self.columns = {name: requests[name].to_numpy() for name in requests.columns}
        self.features = features.compute(roles.feature_set, self.columns, roles.numeric, roles.categorical)
        self.probabilities = model.predict(self.features)
        self._needed = [
            column.name for column in features.request_columns(roles.feature_set, roles.numeric, roles.categorical)
        ]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.probabilities)

    @cached_property
    def _records(self) -> list[dict[str, Any]]:
        named = {name: _plain(self.columns[name]) for name in self._needed}
        return [dict(zip(named, row, strict=True)) for row in zip(*named.values(), strict=True)]

    @cached_property
    def _inputs(self) -> dict[str, list[Any]]:
        return {name: _plain(values) for name, values in self.features.items()}

    def records(self, part: slice) -> Any:
        """What an operations system has: a record, or a list of them."""
        found = self._records[part]
        return found[0] if len(found) == 1 else found

    def inputs(self, part: slice) -> dict[str, Any]:
        """Features by column, MLflow's form for tensors."""
        return {"inputs": {name: values[part] for name, values in self._inputs.items()}}

    def dataframe_split(self, part: slice) -> dict[str, Any]:
        """Features by row, the form of the example that MLflow keeps with the model."""
        rows = zip(*(values[part] for values in self._inputs.values()), strict=True)
        return {"dataframe_split": {"columns": list(self._inputs), "data": list(rows)}}

    def feature_records(self, part: slice) -> list[dict[str, Any]]:
        """Features by row, with their names."""
        rows = zip(*(values[part] for values in self._inputs.values()), strict=True)
        return [dict(zip(self._inputs, row, strict=True)) for row in rows]

    def parts(self, rows: int) -> list[slice]:
        """The rows of each body."""
        step = max(1, rows // OVERLAP)
        return [slice(start, start + rows) for start in range(0, len(self) - rows + 1, step)]

    def write(self, form: Callable[["Rows", slice], Any], rows: int, file: Path) -> Path:
        """Write all bodies of so many rows into a file, one a line."""
        lines = (json.dumps(form(self, part), allow_nan=False) for part in self.parts(rows))
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return file
