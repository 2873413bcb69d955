"""The service that one writes in ten minutes: FastAPI, a table of the records, and MLflow's pyfunc model.

``BENCHMARK_MODEL=models:/name@alias uvicorn benchmarks.serving_peers.plain:app``
"""

import os
from typing import Any

import mlflow
import pandas as pd
from fastapi import FastAPI

from ml_lifecycle.onnx_model import OUTPUT

app = FastAPI()
model = mlflow.pyfunc.load_model(os.environ["BENCHMARK_MODEL"])
#: Without them a column in which every value is missing would be none of numbers.
types = {column.name: column.type for column in model.metadata.get_input_schema()}


@app.post("/predict")
def predict(records: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Answer a list of records of features."""
    table = pd.DataFrame(records).astype(types)
    return {"probability": model.predict(table)[OUTPUT].tolist()}


@app.get("/ready")
def ready() -> dict[str, bool]:
    """The model is loaded at import."""
    return {"ok": True}
