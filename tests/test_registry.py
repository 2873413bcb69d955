"""The model registry, on a real MLflow that keeps its data in SQLite."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
from mlflow.types import DataType
from onnx import TensorProto, helper

from ml_lifecycle import export, registry
from ml_lifecycle.errors import RegistryError
from ml_lifecycle.model_version import Candidate
from ml_lifecycle.onnx_model import OUTPUT
from ml_lifecycle.provenance.record import Environment, GitState, Provenance, RawInput, RunRecord, digest_of_probe
from ml_lifecycle.roles import TableRoles
from mlflow_store import own_mlflow

pytestmark = pytest.mark.filterwarnings("default")  # of third parties; test_lifecycle.py tests that a user sees none

NAME = "small_model"
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
EQUAL = {"value": 0.0, "low": 0.0, "high": 0.0}
UNKNOWN = {"value": 0.1, "low": None, "high": None}
LOCK = "mlflow==3.17.2 \\\n    --hash=sha256:a\n" + "".join(
    f"{name}==1.0 ; python_version >= '3.11' \\\n    --hash=sha256:b\n"
    for name in ("numpy", "onnx", "onnxruntime", "pandas")
)


def small_model() -> onnx.ModelProto:
    """Build a model that answers with the column `share`, whatever the carrier."""
    numbers = helper.make_tensor_value_info("share", TensorProto.FLOAT, [None])
    texts = helper.make_tensor_value_info("carrier", TensorProto.STRING, [None])
    answer = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None])
    nodes = [helper.make_node("Identity", ["share"], [OUTPUT], name=OUTPUT)]
    graph = helper.make_graph(nodes, "small", [numbers, texts], [answer])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def evaluation(roc_auc: dict[str, Any] = BETTER, log_loss: dict[str, Any] = BETTER) -> dict[str, Any]:
    """Make an evaluation with one baseline."""
    return {"improvements": {"prevalence": {"roc_auc": roc_auc, "log_loss": log_loss, "brier": DOUBTFUL}}}


CARD = "# Model card\n\nShort.\n\n## Data\n\nLong."


@pytest.fixture
def client(tmp_path: Path) -> Iterator[MlflowClient]:
    """Make an MLflow of one's own the current one, with an open run."""
    with own_mlflow(tmp_path) as client:
        yield client


@pytest.fixture
def candidate() -> Candidate:
    """Return a model that is ready to be registered."""
    model = export.seal(small_model(), ROLES, threshold=0.5)
    probe = pd.DataFrame({"share": np.float32([0.25, 0.75]), "carrier": ["AA", "UA"]})
    probe["probability"] = probe["share"]
    run = RunRecord(
        started_at="2013-10-01T00:00:00+00:00",
        kedro_environment="base",
        pipelines=["training"],
        git=GitState(commit="c0ffee", dirty=False, diff_sha256="d1ff"),
        environment=Environment(python="3.11.7", platform="Linux", lock_sha256="10c4"),
        parameters={},
        parameters_sha256="9a4a",
    )
    provenance = Provenance(
        run=run,
        raw_inputs={"table": RawInput(path="data/table.csv", md5="7ab1", size=3)},
        model_sha256=model.digest,
        probe_sha256=digest_of_probe(probe),
    )
    return Candidate(model, probe, evaluation(), CARD, provenance)


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """Return a lock as `make lock` writes it."""
    (tmp_path / "run.txt").write_text(LOCK, encoding="utf-8")
    return tmp_path / "run.txt"


@pytest.fixture
def versions(client: MlflowClient) -> list[str]:
    """Make two versions without files, which is enough to promote."""
    client.create_registered_model(NAME)
    return [str(client.create_model_version(NAME, f"s3://models/{number}").version) for number in range(2)]


def aliases() -> dict[str, str]:
    """Map aliases to versions."""
    return {alias: str(version) for alias, version in registry.aliases(NAME).items()}


class TestSummary:
    """What of a model card becomes the description of a version."""

    def test_is_the_first_section(self) -> None:
        """The title and what stands before the first heading."""
        assert registry.summary(CARD) == "# Model card\n\nShort."

    def test_fits_into_the_database(self) -> None:
        """A first section that is too long is cut to what MLflow's table of versions takes."""
        column = SqlModelVersion.__table__.columns["description"]
        assert registry.DESCRIPTION_LENGTH == column.type.length
        assert len(registry.summary("x" * 9000)) == column.type.length


class TestUnbeaten:
    """Which baselines a model does not beat beyond doubt."""

    def test_better_in_both_metrics(self) -> None:
        """A model whose intervals lie above zero beats the baseline."""
        assert registry.unbeaten(evaluation()) == []

    @pytest.mark.parametrize("figure", [DOUBTFUL, EQUAL, UNKNOWN])
    @pytest.mark.parametrize("metric", ["roc_auc", "log_loss"])
    def test_not_better_beyond_doubt(self, metric: str, figure: dict[str, Any]) -> None:
        """An interval that reaches zero or is missing, in either metric, is not better."""
        (lost,) = registry.unbeaten(evaluation(**{metric: figure}))
        expected = f"prevalence in {metric} (better by {figure['value']}, interval {figure['low']} to {figure['high']})"
        assert expected == lost

    def test_other_metrics_do_not_decide(self) -> None:
        """A doubtful Brier score alone keeps nobody from production."""
        doubtful = evaluation()
        doubtful["improvements"]["prevalence"]["brier"] = DOUBTFUL
        assert registry.unbeaten(doubtful) == []

    def test_names_every_baseline(self) -> None:
        """Each baseline that is not beaten is named."""
        both = {name: {"roc_auc": DOUBTFUL, "log_loss": BETTER} for name in ("prevalence", "schedule_only")}
        assert [line.split()[0] for line in registry.unbeaten({"improvements": both})] == list(both)


class TestPromoteFirst:
    """The only promotion that no person decides."""

    def test_gives_both_aliases(self, versions: list[str]) -> None:
        """The first version that beats its baselines answers under both aliases."""
        registry.promote_first(NAME, versions[0], evaluation())
        assert aliases() == {"staging": "1", "production": "1"}

    def test_decides_once(self, client: MlflowClient, versions: list[str]) -> None:
        """A run that goes on after a fault finds its version in production, and the decision stays as it was."""
        decided = [registry.promote_first(NAME, versions[0], evaluation()) for _ in range(2)]
        assert decided == [client.get_model_version(NAME, versions[0]).tags["promotion"]] * 2
        assert decided[0].startswith("promoted to staging and production")

    def test_leaves_a_version_alone_that_somebody_promoted(self, client: MlflowClient, versions: list[str]) -> None:
        """A version that a person gave the alias, before the run could decide, is not said to stand in its own way."""
        client.set_registered_model_alias(NAME, "production", versions[0])
        assert "undecided" == registry.promote_first(NAME, versions[0], evaluation())
        assert ({}, {"production": "1"}) == (client.get_model_version(NAME, versions[0]).tags, aliases())

    def test_refuses_what_beats_nothing(self, versions: list[str]) -> None:
        """A version that does not beat its baselines gets no alias, and the reason names the metric."""
        decision = registry.promote_first(NAME, versions[0], evaluation(log_loss=DOUBTFUL))
        expected = "not promoted: does not beat prevalence in log_loss (better by 0.1, interval -0.01 to 0.2)"
        assert (decision, aliases()) == (expected, {})

    def test_leaves_an_incumbent(self, versions: list[str]) -> None:
        """With a version in production, a better one waits for a person."""
        registry.promote_first(NAME, versions[0], evaluation())
        decision = registry.promote_first(NAME, versions[1], evaluation())
        expected = "not promoted: version 1 is in production; compare them, then promote by hand"
        assert (decision, aliases()) == (expected, {"staging": "1", "production": "1"})

    def test_promotes_the_second_if_the_first_was_refused(self, versions: list[str]) -> None:
        """The first version that beats its baselines need not be version 1."""
        registry.promote_first(NAME, versions[0], evaluation(roc_auc=UNKNOWN))
        registry.promote_first(NAME, versions[1], evaluation())
        assert aliases() == {"staging": "2", "production": "2"}

    @pytest.mark.parametrize("figure", [BETTER, DOUBTFUL])
    def test_tags_the_version(self, client: MlflowClient, versions: list[str], figure: dict[str, Any]) -> None:
        """The decision is written on the version, whichever it is."""
        decision = registry.promote_first(NAME, versions[0], evaluation(figure))
        assert decision == client.get_model_version(NAME, versions[0]).tags["promotion"]


class TestRegister:
    """A version that exists is complete."""

    def test_stores_the_bytes(self, client: MlflowClient, candidate: Candidate, lock: Path) -> None:
        """What is registered comes out again, byte for byte."""
        version = registry.register(NAME, candidate, lock)
        client.set_registered_model_alias(NAME, "production", version)
        loaded = registry.load(NAME, "production")
        assert (loaded.name, loaded.version, loaded.model.content) == (NAME, version, candidate.model.content)

    def test_creates_one_version_a_run(self, client: MlflowClient, candidate: Candidate, lock: Path) -> None:
        """A run that registers its model again has registered it; another run makes the next version."""
        first = [registry.register(NAME, candidate, lock) for _ in range(2)]
        with mlflow.start_run(nested=True):
            second = registry.register(NAME, candidate, lock)
        assert (["1", "1"], "2") == (first, second)

    def test_creates_a_version_for_each_model(self, client: MlflowClient, candidate: Candidate, lock: Path) -> None:
        """Two models of one run, as in a notebook, are two versions."""
        other = export.seal(small_model(), ROLES, threshold=0.75)
        provenance = candidate.provenance.model_copy(update={"model_sha256": other.digest})
        models = candidate, replace(candidate, model=other, provenance=provenance)
        assert ["1", "2"] == [registry.register(NAME, model, lock) for model in models]

    def test_tags_the_version(self, client: MlflowClient, candidate: Candidate, lock: Path) -> None:
        """The version carries the whole record as tags from the moment it exists."""
        version = registry.register(NAME, candidate, lock)
        assert candidate.provenance.tags() == client.get_model_version(NAME, version).tags

    def test_answers_through_pyfunc(self, client: MlflowClient, candidate: Candidate, lock: Path) -> None:
        """MLflow's own model takes pandas 3's text columns and gives the probe's answers."""
        version = registry.register(NAME, candidate, lock)
        model = mlflow.pyfunc.load_model(f"models:/{NAME}/{version}")
        answers = model.predict(candidate.probe[["share", "carrier"]])
        assert np.array_equal(candidate.probe["probability"], answers[OUTPUT])

    def test_writes_the_record_beside_the_model(self, client: MlflowClient, candidate: Candidate, lock: Path) -> None:
        """The run holds the provenance record."""
        registry.register(NAME, candidate, lock)
        text = mlflow.artifacts.load_text(f"{mlflow.active_run().info.artifact_uri}/provenance.json")
        assert Provenance.model_validate_json(text) == candidate.provenance

    def test_lists_what_a_run_registered(self, client: MlflowClient, candidate: Candidate, lock: Path) -> None:
        """The versions of a run are found with digest and decision."""
        version = registry.register(NAME, candidate, lock)
        found = registry.registered_by(NAME, mlflow.active_run().info.run_id)
        assert [registry.Registration(version, candidate.model.digest, "undecided")] == found


class TestLoad:
    """What answers under an alias."""

    def test_unknown_model(self, client: MlflowClient) -> None:
        """A model that was never registered is refused with how to make one."""
        with pytest.raises(RegistryError, match=r"carries the alias '@production'.*`kedro run`.*in use: none\."):
            registry.load(NAME, "production")

    def test_unknown_alias(self, client: MlflowClient, versions: list[str]) -> None:
        """An alias that no version carries is refused with the ones in use."""
        client.set_registered_model_alias(NAME, "staging", versions[0])
        with pytest.raises(RegistryError, match=r"carries the alias '@champion'.*in use: staging\."):
            registry.load(NAME, "champion")

    def test_damaged_file(self, client: MlflowClient, candidate: Candidate, lock: Path, tmp_path: Path) -> None:
        """A stored file that is not the registered one is refused with both digests."""
        client.set_registered_model_alias(NAME, "production", registry.register(NAME, candidate, lock))
        (stored,) = (tmp_path / "artifacts").rglob("model.onnx")
        stored.write_bytes(stored.read_bytes() + b"\0")
        with pytest.raises(RegistryError, match=f"damaged: registered with SHA-256 {candidate.model.digest}, stored"):
            registry.load(NAME, "production")


def test_unknown_model_has_no_aliases(client: MlflowClient) -> None:
    """A model that was never registered has no aliases, which is not an error."""
    assert registry.aliases(NAME) == {}


def test_signature_has_a_vector_per_feature() -> None:
    """Numbers are float32, text is text, in the order of the roles."""
    inputs = registry.signature(ROLES).inputs
    assert [("share", np.dtype("float32")), ("carrier", np.dtype("O"))] == [(each.name, each.type) for each in inputs]
    assert DataType.string not in inputs.input_types()


def test_requirements_are_pinned_from_the_lock(lock: Path) -> None:
    """The model's requirements carry the versions of the lock, without markers and hashes."""
    assert ["mlflow==3.17.2", "numpy==1.0", "onnx==1.0", "onnxruntime==1.0", "pandas==1.0"] == registry.pinned(lock)
