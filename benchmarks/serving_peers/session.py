"""The bare ONNX Runtime session in a loop, without a service around it: prints JSON.

``python -m benchmarks.serving_peers.session MODEL REQUESTS SECONDS ROWS...``
"""

import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.load.bodies import Rows
from ml_lifecycle import features
from ml_lifecycle.onnx_model import OnnxModel


def _calls_per_second(call: Callable[[Any], Any], given: list[Any], seconds: float) -> float:
    for each in given[:10]:
        call(each)
    start = time.perf_counter()
    for number, each in enumerate(itertools.cycle(given), start=1):
        call(each)
        if (taken := time.perf_counter() - start) >= seconds:
            return number / taken
    raise AssertionError("there are no rows")


def main(model_file: str, requests_file: str, seconds: str, *counts: str) -> None:
    """Measure calls per second, for each count of rows: of the session alone, and with the features before it."""
    model = OnnxModel(Path(model_file).read_bytes())
    rows, roles = Rows(model, pd.read_parquet(requests_file)), model.roles

    def both(columns: Any) -> None:
        model.predict(features.compute(roles.feature_set, columns, roles.numeric, roles.categorical))

    def cut(table: dict[str, Any], count: int) -> list[Any]:
        return [{name: values[part] for name, values in table.items()} for part in rows.parts(count)]

    found = {
        count: {
            "session": _calls_per_second(model.predict, cut(rows.features, int(count)), float(seconds)),
            "features and session": _calls_per_second(both, cut(rows.columns, int(count)), float(seconds)),
        }
        for count in counts
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
