"""The services that are compared, and the model that all of them serve."""

import hashlib
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load.bodies import Rows
from benchmarks.load.figures import INPUTS, LIT, LIT_BATCHING, NO_OP, OURS, PLAIN, SPLIT, WITH_KEY
from benchmarks.load.service import HOST, PORT, Form, Service

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path("build/peers")
REQUESTS = Path("data/05_model_input/requests.parquet")
SAMPLE, SEED = 1000, 2013


@dataclass(frozen=True)
class Subject:
    """The model that all serve, and the rows that all are asked with: ``requests`` is a file of them."""

    name: str
    version: str
    address: str
    tracking_uri: str
    file: Path
    requests: Path
    rows: Rows


def find_subject(folder: Path) -> Subject:
    """Fetch the model that the project's settings name, and rows to ask it.

    Raises:
        SystemExit: there is none.
    """
    import mlflow
    import pandas as pd

    from ml_lifecycle.api.settings import read_settings
    from ml_lifecycle.registry import versions

    settings = read_settings(authentication="off")
    uri, database = settings.tracking_uri, settings.tracking_uri.removeprefix("sqlite:///")
    do = "`make run` makes both: a model, registered, and requests. Then `make bench-serving` again."
    if database != uri and not Path(database).exists():  # MLflow would make an empty one
        raise SystemExit(f"There is no registry: {database} does not exist. {do}")
    if not REQUESTS.exists():
        raise SystemExit(f"There are no rows to ask with: {REQUESTS} does not exist. {do}")
    mlflow.set_tracking_uri(uri)
    version = versions.at_alias(settings.model, settings.alias)
    if version is None:
        raise SystemExit(f"No version of '{settings.model}' carries the alias '@{settings.alias}'. {do}")
    with versions.folder(version) as stored:
        model = stored.model()
    file, sampled, requests = folder / "model.onnx", folder / "requests.parquet", pd.read_parquet(REQUESTS)
    file.write_bytes(model.content)
    requests = requests.sample(min(SAMPLE, len(requests)), random_state=SEED)
    requests.to_parquet(sampled)
    address = f"models:/{settings.model}@{settings.alias}"
    return Subject(settings.model, version.number, address, uri, file, sampled, Rows(model, requests))


def _of_ours(answer: Any) -> Any:
    return [one["probability"] for one in answer.get("predictions", [answer])]


def _of_mlflow(answer: Any) -> Any:
    return answer["predictions"]["probability"]


def _of_peers(answer: Any) -> Any:
    return answer["probability"]


def services(subject: Subject, folder: Path, *, peers: bool) -> list[Service]:
    """All that are compared."""
    uvicorn = [sys.executable, "-m", "uvicorn", "--host", HOST, "--port", PORT, "--workers", "1"]
    uvicorn += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    mlflow = ["mlflow", "models", "serve", "--model-uri", subject.address, "--env-manager", "local"]
    tracking = {"MLFLOW_TRACKING_URI": subject.tracking_uri}
    key = secrets.token_urlsafe(32)
    found = [
        Service(
            NO_OP,
            [*uvicorn, "benchmarks.serving_peers.no_op:app"],
            "/ready",
            (Form(NO_OP, "/predict", Rows.records, None),),
        ),
        ours(folder),
        ours(folder, key=key),
        Service(
            PLAIN,
            [*uvicorn, "benchmarks.serving_peers.plain:app"],
            "/ready",
            (Form(PLAIN, "/predict", Rows.feature_records, _of_peers),),
            {**tracking, "BENCHMARK_MODEL": subject.address},
        ),
        Service(
            SPLIT,
            [*mlflow, "--host", HOST, "--port", PORT],
            "/ping",
            (
                Form(SPLIT, "/invocations", Rows.dataframe_split, _of_mlflow),
                Form(INPUTS, "/invocations", Rows.inputs, _of_mlflow),
            ),
            tracking,
        ),
    ]
    for name, kind in {LIT: "single", LIT_BATCHING: "batching"}.items() if peers else ():
        script = str(ROOT / "benchmarks/serving_peers/lit.py")
        command = [str(PEERS / "bin/python"), script, str(subject.file), PORT, kind]
        found.append(Service(name, command, "/health", (Form(name, "/predict", Rows.inputs, _of_peers),)))
    return found


def ours(folder: Path, key: str | None = None) -> Service:
    """The service as it is in production, with prediction log and access log; with or without a key to show."""
    name = OURS if key is None else WITH_KEY
    variables = {
        "API_HOST": HOST,
        "API_PORT": PORT,
        "API_WORKERS": "1",
        "API_CACHE": str(folder / "cache"),
        "API_PREDICTION_LOG": str(folder / "prediction_log"),
        "API_AUTHENTICATION": "off" if key is None else "on",
        "API_KEY_HASHES": "" if key is None else hashlib.sha256(key.encode()).hexdigest(),
    }
    form = Form(name, "/predict", Rows.records, _of_ours)
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return Service(name, [sys.executable, "-m", "ml_lifecycle.api"], "/ready", (form,), variables, headers)


def install(*packages: str) -> None:
    """Put packages into the environment of the peers, which is none of the project's."""
    uv = ["uv", "--quiet"]
    if not (PEERS / "bin/python").exists():
        subprocess.run([*uv, "venv", "--python", sys.executable, str(PEERS)], check=True)
    into = ["--python", str(PEERS / "bin/python"), "--constraint", "requirements/dev.txt"]
    subprocess.run([*uv, "pip", "install", *into, *packages], check=True)
