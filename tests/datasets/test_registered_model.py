"""The registry as a dataset."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from mlflow import MlflowClient
from onnx import TensorProto, helper

from ml_lifecycle import export, registry
from ml_lifecycle.datasets.registered_model import RegisteredModelDataset
from ml_lifecycle.model_version import Candidate
from ml_lifecycle.onnx_model import OUTPUT
from ml_lifecycle.provenance.record import Environment, GitState, Provenance, RunRecord
from ml_lifecycle.roles import TableRoles
from mlflow_store import own_mlflow

pytestmark = pytest.mark.filterwarnings("default")  # of third parties; test_lifecycle.py tests that a user sees none

NAME = "small_model"
BETTER = {"value": 0.1, "low": 0.05, "high": 0.15}
ROLES = TableRoles(
    table="table",
    feature_set="table",
    key="row_key",
    time=None,
    target="late",
    labels=("no", "yes"),
    numeric=["share"],
    categorical=[],
    baselines={},
)


def candidate(answer: float) -> Candidate:
    """Make a model that always gives the same answer, better than its baseline."""
    share = helper.make_tensor_value_info("share", TensorProto.FLOAT, [None])
    output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None])
    constant = helper.make_tensor("answer", TensorProto.FLOAT, [1], [answer])
    nodes = [
        helper.make_node("Sub", ["share", "share"], ["zero"], name="zero"),
        helper.make_node("Add", ["zero", "answer"], [OUTPUT], name=OUTPUT),
    ]
    graph = helper.make_graph(nodes, "constant", [share], [output], [constant])
    proto: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    model = export.seal(proto, ROLES, threshold=0.5)
    run = RunRecord(
        started_at="2013-10-01T00:00:00+00:00",
        kedro_environment="base",
        pipelines=["training"],
        git=GitState(commit="c0ffee", dirty=False, diff_sha256="d1ff"),
        environment=Environment(python="3.11.7", platform="Linux", lock_sha256="10c4"),
        parameters={},
        parameters_sha256="9a4a",
    )
    record = Provenance(run=run, raw_inputs={}, model_sha256=model.digest, probe_sha256="940b")
    evaluation = {"improvements": {"prevalence": {"roc_auc": BETTER, "log_loss": BETTER}}}
    return Candidate(model, pd.DataFrame({"share": np.float32([0.5])}), evaluation, "# Model card", record)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[MlflowClient]:
    """Make an MLflow of one's own the current one, with an open run."""
    with own_mlflow(tmp_path) as client:
        yield client


@pytest.fixture
def lock(tmp_path: Path) -> str:
    """Return the path of a lock that pins what a model needs."""
    pins = "".join(f"{name}==1.0\n" for name in registry.REQUIREMENTS)
    (tmp_path / "run.txt").write_text(pins, encoding="utf-8")
    return str(tmp_path / "run.txt")


def dataset(lock: str, **options: Any) -> RegisteredModelDataset:
    """Make the dataset as the catalog does."""
    return RegisteredModelDataset(
        **{"name": NAME, "alias": "production", "lock": lock, "promote_first": True, **options}
    )


def test_saving_registers_and_promotes(client: MlflowClient, lock: str) -> None:
    """The first candidate becomes version 1 and answers under the alias."""
    made = candidate(0.25)
    dataset(lock).save(made)
    loaded = dataset(lock).load()
    assert ("1", made.model.content) == (loaded.version, loaded.model.content)


def test_loading_gives_the_promoted_version(client: MlflowClient, lock: str) -> None:
    """What comes out is the version behind the alias, not the one that was saved last."""
    for answer in (0.25, 0.75):
        dataset(lock).save(candidate(answer))
    loaded = dataset(lock).load()
    assert ("1", candidate(0.25).model.digest) == (loaded.version, loaded.model.digest)


def test_promotion_can_be_switched_off(client: MlflowClient, lock: str) -> None:
    """Without `promote_first` a candidate is registered and gets no alias."""
    dataset(lock, promote_first=False).save(candidate(0.25))
    assert registry.aliases(NAME) == {}


def test_exists_once_a_version_has_the_alias(client: MlflowClient, lock: str) -> None:
    """The dataset exists if there is a version behind the alias."""
    before = dataset(lock).exists()
    dataset(lock).save(candidate(0.25))
    assert (before, dataset(lock).exists(), dataset(lock, alias="champion").exists()) == (False, True, False)


def test_describes_itself(lock: str) -> None:
    """Messages name model and alias."""
    assert str(dataset(lock)).endswith("RegisteredModelDataset(name='small_model', alias='production')")
