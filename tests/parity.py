"""One set of rows through every way to an answer: training, batch, three protocols of the service, MLflow's server."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml_lifecycle import features
from ml_lifecycle.api.tensors import as_json
from ml_lifecycle.onnx_model import OnnxModel

SECONDS = 60
AT_ONCE = 500
#: That are asked for one by one as well.
ALONE = 300

Probabilities = npt.NDArray[np.float32]


def _post(url: str, content: Any) -> Any:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        return json.load(answer)


@dataclass(frozen=True)
class Ways:
    """The ways from rows of requests to probabilities; ``results`` is where a run's data are."""

    results: Path
    model: OnnxModel
    name: str
    service: str
    mlflow: str
    rows: int

    @property
    def requests(self) -> pd.DataFrame:
        """Rows that were judged in training, scored in the batch, and are asked for now."""
        asked = pd.read_parquet(self.results / "05_model_input/requests.parquet")
        judged = pd.read_parquet(self.results / "07_model_output/evaluation_scores.parquet")["row_key"]
        common = asked[asked[self.model.roles.key].isin(judged)]
        return common.sample(min(self.rows, len(common)), random_state=7).reset_index(drop=True)

    def all(self) -> dict[str, Probabilities]:
        """The probabilities of the same rows, by way."""
        asked = self.requests
        keys = asked[self.model.roles.key]
        records = [self._record(row) for row in asked.to_dict("records")]
        ways: dict[str, Callable[[], Iterator[float]]] = {
            "/predict": lambda: self._predict(records),
            "/invocations": lambda: self._invocations(asked, self.service),
            "/v2": lambda: self._v2(asked),
            "mlflow models serve": lambda: self._invocations(asked, self.mlflow),
        }
        alone = [_post(f"{self.service}/predict", record)["probability"] for record in records[:ALONE]]
        return {
            "training": self._stored("evaluation_scores", "row_key", "model", keys),
            "batch": self._stored("predictions", "request_key", "probability", keys),
            **{way: np.array(list(answers()), dtype=np.float32) for way, answers in ways.items()},
            "/predict, one by one": np.array(alone, dtype=np.float32),
        }

    def _stored(self, table: str, key: str, column: str, keys: pd.Series) -> Probabilities:
        found = pd.read_parquet(self.results / f"07_model_output/{table}.parquet").set_index(key)[column]
        return found.loc[keys].to_numpy().astype(np.float32)

    def _record(self, row: dict[str, Any]) -> dict[str, Any]:
        roles = self.model.roles
        asked = features.request_columns(roles.feature_set, roles.numeric, roles.categorical)
        record = {roles.key: row[roles.key]}
        for column in asked:
            value = row[column.name]
            record[column.name] = None if pd.isna(value) else value.isoformat() if column.kind == "moment" else value
        return record

    def _predict(self, records: list[dict[str, Any]]) -> Iterator[float]:
        for first in range(0, len(records), AT_ONCE):
            answer = _post(f"{self.service}/predict", records[first : first + AT_ONCE])
            yield from (row["probability"] for row in answer["predictions"])

    def _features(self, asked: pd.DataFrame) -> Iterator[dict[str, list[Any]]]:
        roles = self.model.roles
        for first in range(0, len(asked), AT_ONCE):
            part = asked.iloc[first : first + AT_ONCE]
            columns = {name: part[name].to_numpy() for name in part.columns}
            computed = features.compute(roles.feature_set, columns, roles.numeric, roles.categorical)
            yield json.loads(as_json(computed))

    def _invocations(self, asked: pd.DataFrame, server: str) -> Iterator[float]:
        for columns in self._features(asked):
            split = {"columns": list(columns), "data": [list(row) for row in zip(*columns.values(), strict=True)]}
            yield from _post(f"{server}/invocations", {"dataframe_split": split})["predictions"]["probability"]

    def _v2(self, asked: pd.DataFrame) -> Iterator[float]:
        kinds = dict.fromkeys(self.model.roles.categorical, "BYTES")
        for columns in self._features(asked):
            inputs = [
                {"name": name, "shape": [len(values)], "datatype": kinds.get(name, "FP32"), "data": values}
                for name, values in columns.items()
            ]
            yield from _post(f"{self.service}/v2/models/{self.name}/infer", {"inputs": inputs})["outputs"][0]["data"]


def differences(found: dict[str, Probabilities], among: list[str]) -> dict[str, int]:
    """Count the rows whose bits differ from those of batch scoring, by way."""
    batch = found["batch"].view(np.int32)
    return {way: int((found[way].view(np.int32) != batch[: len(found[way])]).sum()) for way in among}
