"""Small models that are ready to be registered, and a registry with keys, a history and a gate of its own."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pandas as pd
from onnx import TensorProto, helper

from ml_lifecycle import export, promotion
from ml_lifecycle.alias_history import AliasHistory, Move
from ml_lifecycle.errors import DataContractError
from ml_lifecycle.gate import Evidence
from ml_lifecycle.metrics import METRICS
from ml_lifecycle.model_folder import ModelFolder
from ml_lifecycle.model_version import Candidate
from ml_lifecycle.onnx_model import OUTPUT, OnnxModel
from ml_lifecycle.parameters import GateOptions
from ml_lifecycle.pipelines.training.nodes import feature_columns
from ml_lifecycle.promotion import Application, Circumstances, Decision, Registrar
from ml_lifecycle.provenance.record import (
    DataRecord,
    Environment,
    GitState,
    Provenance,
    RawInput,
    RunRecord,
    digest_of_labels,
    digest_of_parameters,
    digest_of_probe,
)
from ml_lifecycle.registry import records, registration, versions
from ml_lifecycle.registry.registration import REQUIREMENTS
from ml_lifecycle.registry.versions import Version
from ml_lifecycle.roles import TableRoles
from ml_lifecycle.signing.keys import Keys, make_pair
from mlflow_store import own_mlflow

NAME = "small_model"
CARD = "# Model card\n\nShort.\n\n## Data\n\nLong."
ROLES = TableRoles(
    table="table",
    feature_set="table",
    key="row_key",
    time=None,
    target="late",
    labels=("no", "yes"),
    numeric=["share"],
    categorical=["carrier"],
    baselines={},
)
BETTER = {"value": 0.1, "low": 0.05, "high": 0.15}
DOUBTFUL = {"value": 0.1, "low": -0.01, "high": 0.2}
#: Of the gate; so slow that a busy machine does not fail.
GATE: dict[str, Any] = {
    "clean_tree": ["production"],
    "floors": {"roc_auc": 0.6},
    "ceilings": {"log_loss": 0.7},
    "baseline_metrics": ["roc_auc", "log_loss"],
    "question": ["asked"],
    "metric": "roc_auc",
    "comparison": "superiority",
    "minimum_gain": 0.001,
    "confidence": 0.9,
    "bootstrap_samples": 50,
    "slices": ["city"],
    "slice_min_rows": 50,
    "slice_max_loss": 0.2,
    "max_latency_ms": 5000.0,
}
OPTIONS = GateOptions.model_validate(GATE)
TOLERANCE = 1e-5
SEED = 7
PARAMETERS: dict[str, Any] = {
    "seed": SEED,
    "gate": GATE,
    "export": {"tolerance": TOLERANCE, "probe_rows": 20},
    "split": {"choose_from": "2013-02-06", "judge_from": "2013-02-15"},
}


def small_model(threshold: float = 0.5, missing: float | None = None) -> OnnxModel:
    """Build a model that answers with the column ``share``, whatever the carrier; each threshold is another model.

    Args:
        threshold: from which on it decides for the positive label.
        missing: what it answers for a missing share, if it has an answer for that.
    """
    numbers = helper.make_tensor_value_info("share", TensorProto.FLOAT, [None])
    texts = helper.make_tensor_value_info("carrier", TensorProto.STRING, [None])
    answer = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None])
    nodes, constants = [helper.make_node("Identity", ["share"], [OUTPUT], name=OUTPUT)], []
    if missing is not None:
        nodes = [
            helper.make_node("IsNaN", ["share"], ["is_missing"], name="is_missing"),
            helper.make_node("Where", ["is_missing", "missing", "share"], ["known"], name="known"),
            helper.make_node("Clip", ["known", "least", "most"], [OUTPUT], name=OUTPUT),
        ]
        values = {"missing": missing, "least": 0.0, "most": 1.0}
        constants = [helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in values.items()]
    graph = helper.make_graph(nodes, "small", [numbers, texts], [answer], initializer=constants)
    proto: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return export.seal(proto, ROLES, threshold)


def small_rows() -> pd.DataFrame:
    """Rows that a small model takes."""
    return pd.DataFrame({"share": np.float32([0.25, 0.75]), "carrier": ["AA", "UA"]})


def evaluation(model: OnnxModel, **changes: Any) -> dict[str, Any]:
    """An evaluation that passes the gate, but for the changes."""
    figures = {"roc_auc": 0.8, "average_precision": 0.5, "log_loss": 0.4, "brier": 0.1, "calibration_gap": 0.01}
    return {
        "model_sha256": model.digest,
        "rows": 1000,
        "confidence": 0.95,
        "model": {name: {"value": figures[name], "low": None, "high": None} for name in METRICS},
        "baselines": {},
        "improvements": {
            name: {"roc_auc": BETTER, "log_loss": BETTER, "brier": DOUBTFUL}
            for name in ("prevalence", *model.roles.baselines)
        },
        "export": {"largest_difference": 1e-7, "rows": 1000},
        **changes,
    }


def run(*, dirty: bool = False, parameters: dict[str, Any] | None = None) -> RunRecord:
    """What is known about a run when it starts."""
    chosen = PARAMETERS if parameters is None else parameters
    return RunRecord(
        started_at="2013-10-01T00:00:00+00:00",
        kedro_environment="base",
        pipelines=["training"],
        git=GitState(commit="c0ffee" * 6 + "c0de", dirty=dirty, diff_sha256="d1" * 32),
        environment=Environment(python="3.11.7", platform="Linux", lock_sha256="1c" * 32),
        parameters=chosen,
        parameters_sha256=digest_of_parameters(chosen),
    )


def candidate(
    model: OnnxModel | None = None,
    rows: pd.DataFrame | None = None,
    judge: pd.DataFrame | None = None,
    *,
    dirty: bool = False,
    parameters: dict[str, Any] | None = None,
    **changes: Any,
) -> Candidate:
    """Make a candidate that passes the gate.

    Args:
        model: a small one if it is not given.
        rows: its probe set, without answers.
        judge: keys, times and labels it was judged on.
        dirty: whether there were uncommitted changes.
        parameters: of its runs.
        changes: of its evaluation.
    """
    model = model or small_model()
    probe = small_rows() if rows is None else rows.reset_index(drop=True)
    probe = probe.assign(probability=model.predict(feature_columns(probe, model.roles)))
    made_by = run(dirty=dirty, parameters=parameters)
    record = Provenance(
        run=made_by,
        data=DataRecord(model_input_sha256="da" * 32, run=made_by),
        raw_inputs={"table": RawInput(path="data/table.csv", md5="7ab1" * 8, size=3)},
        model_sha256=model.digest,
        probe_sha256=digest_of_probe(probe),
        judge_sha256="ed" * 32 if judge is None else digest_of_labels(judge),
    )
    return Candidate(model, probe, evaluation(model, **changes), {"rows": {}, "slices": {}}, CARD, record)


def without_data(made: Candidate) -> Candidate:
    """The same candidate with a record that does not tell which run made the data."""
    return dataclasses.replace(made, provenance=made.provenance.model_copy(update={"data": None}))


def lock(folder: Path) -> Path:
    """Write a lock that pins what a model needs."""
    path = folder / "run.txt"
    path.write_text("".join(f"{name}==1.0\n" for name in REQUIREMENTS), encoding="utf-8")
    return path


def keys(folder: Path, name: str = "keys") -> Keys:
    """Make a pair of keys."""
    make_pair(folder / name)
    return Keys(folder / name)


def registrar(folder: Path, pair: Keys | None = None) -> Registrar:
    """Who moves the aliases, with a history in a folder."""
    return Registrar(NAME, AliasHistory(str(folder / "history")), pair or keys(folder))


@dataclasses.dataclass
class World:
    """A workspace on a registry with keys and a history of its own, and the tables to compare on."""

    folder: Path
    keys: Keys
    registrar: Registrar
    tables: dict[str, pd.DataFrame] = dataclasses.field(default_factory=dict)
    model: str = NAME
    gate: GateOptions = OPTIONS
    tolerance: float = TOLERANCE

    @property
    def project(self) -> Path:
        """The clone, which holds nothing here."""
        return self.folder

    @property
    def parameters(self) -> dict[str, Any]:
        """What the configuration holds."""
        return PARAMETERS

    @property
    def prediction_log(self) -> tuple[str, None]:
        """Address of the log, and how to open it."""
        return str(self.folder / "log"), None

    def find(self, reference: str) -> Version:
        """Find a version."""
        return versions.find(NAME, reference)

    def add(self, made: Candidate | None = None, keys: Keys | None = None) -> Version:
        """Register a candidate in a run of its own."""
        here = mlflow.active_run().info.experiment_id
        with mlflow.start_run(nested=True, experiment_id=here):
            pins = lock(self.folder)
            number = registration.register(NAME, made or candidate(), pins, keys or self.keys)
        return versions.find(NAME, number)

    def table(self, name: str) -> pd.DataFrame:
        """Load a table."""
        if name not in self.tables:
            raise DataContractError(f"the table '{name}' cannot be loaded")
        return self.tables[name]

    def gather(self, version: Version, alias: str = "production") -> Evidence:
        """Gather what the gate asks about."""
        return promotion.gather(version, alias, self.registrar, self.circumstances)

    @property
    def circumstances(self) -> Circumstances:
        """Under what its versions are judged."""
        return Circumstances(TOLERANCE, OPTIONS.question, [], self.table)

    def decide(self, version: Version, alias: str = "production", *, force: bool = False, reason: str = "") -> Decision:
        """Ask the gate."""
        evidence = self.gather(version, alias)
        return promotion.decide(version, evidence, OPTIONS, SEED, Application(reason, force=force))

    def promote(self, version: Version, alias: str = "production") -> Move:
        """Give a version an alias, whatever the gate says."""
        return self.registrar.move(version, self.decide(version, alias, force=True, reason="for this test"))

    def stored(self, version: Version) -> ModelFolder:
        """Find the folder that the artifact store keeps of a version."""
        return ModelFolder(self.folder / "artifacts" / "models" / str(version.model_id) / "artifacts")

    def kept(self, record: records.Record) -> Path:
        """Find the file that a record is."""
        (path,) = (self.folder / "artifacts").rglob(Path(record.path).name)
        return path

    def problems(self) -> list[str]:
        """Say where the histories disagree with MLflow."""
        history, now = self.registrar.history, versions.aliases(NAME)
        return [text for alias in promotion.ALIASES for text in history.problems(NAME, alias, now.get(alias))]


@contextlib.contextmanager
def world(folder: Path) -> Iterator[World]:
    """Make an empty registry in a folder the current one."""
    with own_mlflow(folder):
        yield World(folder, keys(folder), registrar(folder))
