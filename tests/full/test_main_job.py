"""The main job on all 336,776 flights, in a fresh clone, as a new user runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml_lifecycle.onnx_model import OnnxModel
from parity import Ways, differences
from service import ProjectService, mlflow_serving

ROOT = Path(__file__).resolve().parents[2]
UP_TO_DATE = "Data and pipelines are up to date."
FLIGHTS = 336_776
MODEL = "flight_delay"
ROWS = 10_000

pytestmark = pytest.mark.full


class Clone:
    """A fresh clone of the last commit; its own sources are the ones that run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        scripts = Path(sys.executable).parent
        self._environment = {
            **os.environ,
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(path / "src"),
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the root of the clone."""
        return subprocess.run(
            command, cwd=self.path, env=self._environment, check=False, capture_output=True, text=True
        )

    def report(self, name: str) -> dict[str, object]:
        """Read a JSON report of the last run."""
        return json.loads((self.path / "data/08_reporting" / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The clone, before anything ran in it."""
    path = tmp_path_factory.mktemp("main-job") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(path)], check=True)
    return Clone(path)


@pytest.fixture(scope="module")
def first_run(clone: Clone) -> subprocess.CompletedProcess[str]:
    """`kedro run` in the fresh clone."""
    return clone.run("kedro", "run")


@pytest.fixture
def flipped(clone: Clone) -> Iterator[Path]:
    """A raw table with one byte flipped, put right afterwards."""
    path = clone.path / "data/01_raw/weather.csv"
    original = path.read_bytes()
    path.write_bytes(bytes([original[0] ^ 1]) + original[1:])
    yield path
    path.write_bytes(original)


def test_the_run_succeeds_without_a_warning(first_run: subprocess.CompletedProcess[str]) -> None:
    """A fresh clone runs from raw data to predictions, and no line warns."""
    assert 0 == first_run.returncode, first_run.stderr[-3000:]
    assert [] == [line for line in first_run.stderr.splitlines() if "warning" in line.lower()]


def test_every_flight_is_accounted_for(clone: Clone, first_run: subprocess.CompletedProcess[str]) -> None:
    """All flights of 2013 come in, and each is kept or quarantined with a reason."""
    rows = clone.report("data_report")["rows"]["flights"]
    assert FLIGHTS == rows["in"]
    assert FLIGHTS == rows["kept"] + sum(rows["quarantined"].values())


def test_the_default_model_reaches_its_goal(clone: Clone, first_run: subprocess.CompletedProcess[str]) -> None:
    """With honest features the default estimator reaches a ROC AUC of 0.72 on the judge slice."""
    assert clone.report("evaluation")["model"]["roc_auc"]["value"] >= 0.72


def test_predictions_name_their_model(clone: Clone, first_run: subprocess.CompletedProcess[str]) -> None:
    """Every prediction carries the version in production and the digest of its file."""
    predictions = pd.read_parquet(clone.path / "data/07_model_output/predictions.parquet")
    assert {"1"} == set(predictions["model_version"])
    assert 1 == predictions["model_digest"].nunique()
    assert "@production = version 1" in first_run.stdout


def test_every_way_to_an_answer_gives_the_same_numbers(
    clone: Clone, first_run: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    """10,000 rows: batch and the service to the bit; training by scikit-learn and MLflow's server within 1e-6."""
    data = clone.path / "data"
    model = OnnxModel((data / "06_models/model.onnx").read_bytes())
    service = ProjectService(tmp_path, clone.path, {"API_PREDICTION_LOG": str(tmp_path / "log")})
    service.start()
    try:
        with mlflow_serving(tmp_path, MODEL, f"sqlite:///{clone.path}/mlflow.db") as url:
            found = Ways(data, model, MODEL, service.url, url, ROWS).all()
    finally:
        service.stop()
    ours = ["/predict", "/invocations", "/v2", "/predict, one by one"]
    assert len(found["batch"]) == ROWS
    assert dict.fromkeys(ours, 0) == differences(found, ours)
    for way in ("training", "mlflow models serve"):
        assert np.abs(found[way] - found["batch"]).max() <= 1e-6, way


def test_dvc_has_nothing_to_do_afterwards(clone: Clone, first_run: subprocess.CompletedProcess[str]) -> None:
    """The run made byte for byte what dvc.lock records, so `dvc repro` runs nothing and Git sees no change."""
    repro = clone.run("dvc", "repro")
    assert 0 == repro.returncode, repro.stderr[-3000:]
    assert UP_TO_DATE in repro.stdout, repro.stdout[-3000:]
    assert "" == clone.run("git", "status", "--porcelain").stdout


def test_a_flipped_byte_stops_the_run(clone: Clone, first_run: subprocess.CompletedProcess[str], flipped: Path) -> None:
    """A raw table with one changed byte is refused in one line before any node, and left as it is."""
    before = flipped.read_bytes()
    refused = clone.run("kedro", "run")
    assert 0 != refused.returncode
    assert "Running node" not in refused.stderr
    assert refused.stderr.splitlines()[-1].startswith("Error: The raw input 'weather' (data/01_raw/weather.csv)")
    assert before == flipped.read_bytes()


def test_a_training_parameter_concerns_training_and_serving_only(
    clone: Clone, first_run: subprocess.CompletedProcess[str]
) -> None:
    """After a change of one training parameter, DVC runs training and serving and nothing else."""
    path = clone.path / "conf/base/parameters_training.yml"
    original = path.read_text()
    path.write_text(original.replace("n_estimators: 100", "n_estimators: 10"))
    repro = clone.run("dvc", "repro")
    path.write_text(original)
    assert 0 == repro.returncode, repro.stderr[-3000:]
    stages = [line.split("'")[1] for line in repro.stdout.splitlines() if line.startswith("Running stage")]
    assert ["training", "serving"] == stages


def test_another_estimator_registers_another_version(clone: Clone, first_run: subprocess.CompletedProcess[str]) -> None:
    """A boosted model becomes the next version, agrees with its ONNX file, and does not replace version 1."""
    second = clone.run("kedro", "run", "--params", "model.estimator=hist_gradient_boosting")
    assert 0 == second.returncode, second.stderr[-3000:]
    assert "Registered 'flight_delay' version 3" in second.stdout
    assert "@production = version 1" in second.stdout
    export = clone.report("export_report")
    assert export["largest_difference"] <= export["tolerance"]
