"""How a version is made, on a real MLflow that keeps its data in SQLite."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
from mlflow.types import DataType

import candidates
from candidates import CARD, NAME, ROLES
from ml_lifecycle.provenance import statement
from ml_lifecycle.provenance.record import GitState
from ml_lifecycle.registry import registration, versions
from ml_lifecycle.registry.versions import Version
from ml_lifecycle.signing.keys import PUBLIC, Keys
from mlflow_store import another_run, stored

pytestmark = pytest.mark.filterwarnings("default")  # of third parties; test_lifecycle.py tests that a user sees none

LOCK = "mlflow==3.17.2 \\\n    --hash=sha256:a\n" + "".join(
    f"{name}==1.0 ; python_version >= '3.11' \\\n    --hash=sha256:b\n"
    for name in ("numpy", "onnx", "onnxruntime", "pandas")
)
TOLD = ("provenance.json", "evaluation.json", "data_report.json", "probe_set.parquet", "model_card.md", "model.sig")


class TestSummary:
    """What of a model card becomes the description of a version."""

    def test_is_the_first_section(self) -> None:
        """The title and what stands before the first heading."""
        assert registration.summary(CARD) == "# Model card\n\nShort."

    def test_fits_into_the_database(self) -> None:
        """A first section that is too long is cut to what MLflow's table of versions takes."""
        column = SqlModelVersion.__table__.columns["description"]
        assert registration.DESCRIPTION_LENGTH == column.type.length
        assert len(registration.summary("x" * 9000)) == column.type.length


class TestRegister:
    """A version that exists is complete."""

    def test_stores_the_bytes(self, version: Version, keys: Keys) -> None:
        """What is registered comes out again, byte for byte."""
        loaded = versions.load(NAME, "production", keys)
        expected = (NAME, version.number, candidates.small_model().content)
        assert expected == (loaded.name, loaded.version, loaded.model.content)

    def test_creates_one_version_a_run(self, client: MlflowClient, lock: Path, keys: Keys) -> None:
        """A run that registers its model again has registered it; another run makes the next version."""
        made = candidates.candidate()
        first = [registration.register(NAME, made, lock, keys) for _ in range(2)]
        with another_run():
            second = registration.register(NAME, made, lock, keys)
        assert (["1", "1"], "2") == (first, second)

    def test_creates_a_version_for_each_model(self, client: MlflowClient, lock: Path, keys: Keys) -> None:
        """Two models of one run, as in a notebook, are two versions."""
        models = [candidates.candidate(candidates.small_model(threshold)) for threshold in (0.5, 0.75)]
        assert ["1", "2"] == [registration.register(NAME, model, lock, keys) for model in models]

    def test_tags_and_describes_the_version(self, client: MlflowClient, version: Version) -> None:
        """The version carries the whole record as tags from the moment it exists."""
        found = client.get_model_version(NAME, version.number)
        expected = (candidates.candidate().provenance.tags(), "# Model card\n\nShort.")
        assert expected == (found.tags, found.description)

    def test_says_what_it_made(self, version: Version) -> None:
        """Number, run, digest, aliases and decision are those of the registry."""
        assert (version.name, version.number, version.aliases) == (NAME, "1", ("production",))
        assert (version.digest, version.decision) == (candidates.small_model().digest, "undecided")
        assert version.run_id == mlflow.active_run().info.run_id
        assert abs((pd.Timestamp.now(tz="UTC") - version.created).total_seconds()) < 60
        assert str(version) == "version 1 of 'small_model'"

    @pytest.mark.parametrize("file", TOLD)
    def test_keeps_everything_that_is_told(self, version: Version, tmp_path: Path, file: str) -> None:
        """Record, evaluation, report of the data, probe set, card and signature lie beside the model."""
        assert (stored(tmp_path) / file).stat().st_size > 0

    def test_what_is_told_can_be_read(self, version: Version) -> None:
        """The files hold what the candidate told, and the record names each with its digest."""
        made = candidates.candidate()
        with versions.folder(version) as folder:
            record = folder.provenance()
            assert made.provenance == record.model_copy(update={"files": {}})
            assert {name: folder.digest_of(name) for name in record.files} == record.files
            assert {"evaluation.json", "data_report.json", "probe_set.parquet", "model_card.md"} == set(record.files)
            assert (made.evaluation, made.data_report) == (
                folder.evaluation(),
                json.loads(folder.read("data_report.json")),
            )
            assert folder.read("model_card.md").decode() == made.model_card
            pd.testing.assert_frame_equal(made.probe, folder.probe().astype({"carrier": made.probe["carrier"].dtype}))

    def test_the_record_is_a_statement_about_the_model(self, version: Version, tmp_path: Path) -> None:
        """Others read the record as an in-toto statement about name and digest."""
        content = json.loads((stored(tmp_path) / "provenance.json").read_text(encoding="utf-8"))
        expected = {"name": NAME, "digest": {"sha256": version.digest}}
        assert (content["_type"], content["subject"]) == (statement.STATEMENT_TYPE, [expected])

    def test_keeps_changes_beyond_the_commit(self, client: MlflowClient, lock: Path, keys: Keys) -> None:
        """The patches of the run and of the run that made the data are files beside the model, under the signature."""
        made = candidates.candidate(dirty=True)
        record = made.provenance
        git = [GitState(**{**record.run.git.model_dump(), "patch": patch}) for patch in ("b25l", "dHdv")]
        run, other = (record.run.model_copy(update={"git": state}) for state in git)
        data = record.data and record.data.model_copy(update={"run": other})
        made = replace(made, provenance=record.model_copy(update={"run": run, "data": data}))
        number = registration.register(NAME, made, lock, keys)
        with versions.folder(versions.find(NAME, number)) as folder:
            assert (folder.changes(), folder.changes("data_changes.patch")) == (b"one", b"two")
            assert {"changes.patch", "data_changes.patch"} < set(folder.provenance().files)
            assert folder.provenance().run.git.patch is None

    def test_without_a_key_it_is_not_signed(
        self, client: MlflowClient, lock: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A version without a signature exists, with a warning, but does not score."""
        with caplog.at_level(logging.WARNING, "ml_lifecycle"):
            registration.register(NAME, candidates.candidate(), lock, Keys(tmp_path / "nowhere"))
        (said,) = [record.message for record in caplog.records if record.name == "ml_lifecycle.registry.registration"]
        assert "registered without a signature, so it cannot score yet: There is no key to sign with" in said
        assert not (stored(tmp_path) / "model.sig").exists()

    def test_with_a_key_nothing_is_warned(self, version: Version, caplog: pytest.LogCaptureFixture) -> None:
        """A signed version gives no cause for a warning."""
        assert [record for record in caplog.records if record.name.startswith("ml_lifecycle")] == []

    def test_development_keys_are_made(self, client: MlflowClient, lock: Path, tmp_path: Path) -> None:
        """Where a pair may be made, the first version makes it, and can be verified with it."""
        fresh = Keys(tmp_path / "fresh", create=True)
        number = registration.register(NAME, candidates.candidate(), lock, fresh)
        with versions.folder(versions.find(NAME, number)) as folder:
            assert folder.verify(fresh) == tmp_path / "fresh" / PUBLIC


def test_signature_has_a_vector_per_feature() -> None:
    """Numbers are float32, text is text, in the order of the roles."""
    inputs = registration.signature(ROLES).inputs
    assert [("share", np.dtype("float32")), ("carrier", np.dtype("O"))] == [(each.name, each.type) for each in inputs]
    assert DataType.string not in inputs.input_types()


def test_requirements_are_pinned_from_the_lock(tmp_path: Path) -> None:
    """The model's requirements carry the versions of the lock, without markers and hashes."""
    (tmp_path / "run.txt").write_text(LOCK, encoding="utf-8")
    expected = ["mlflow==3.17.2", "numpy==1.0", "onnx==1.0", "onnxruntime==1.0", "pandas==1.0"]
    assert expected == registration.pinned(tmp_path / "run.txt")
