"""Versions of a registered model, on a real MLflow that keeps its data in SQLite."""

import functools
import json
import logging
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
from mlflow.types import DataType

import candidates
from candidates import CARD, NAME, ROLES
from ml_lifecycle.errors import RegistryError
from ml_lifecycle.model_folder import ModelFolder
from ml_lifecycle.onnx_model import OUTPUT, OnnxModel
from ml_lifecycle.provenance import statement
from ml_lifecycle.provenance.record import GitState
from ml_lifecycle.registry import versions
from ml_lifecycle.registry.versions import Version
from ml_lifecycle.signing import signature
from ml_lifecycle.signing.keys import PUBLIC, VERIFYING_KEYS, Keys
from ml_lifecycle.signing.signature import MissingKeyError, SignatureError

pytestmark = pytest.mark.filterwarnings("default")  # of third parties; test_lifecycle.py tests that a user sees none

LOCK = "mlflow==3.17.2 \\\n    --hash=sha256:a\n" + "".join(
    f"{name}==1.0 ; python_version >= '3.11' \\\n    --hash=sha256:b\n"
    for name in ("numpy", "onnx", "onnxruntime", "pandas")
)
TOLD = ("provenance.json", "evaluation.json", "data_report.json", "probe_set.parquet", "model_card.md", "model.sig")
#: Names of files that some loader takes for a pickle, or runs.
PICKLES = ("model.pkl", "python_model.pkl", "python_env.yaml", "code/loader.pkl", "data/model.joblib", "model.onnx.pkl")


def stored(folder: Path) -> Path:
    """Find the only folder that the artifact store keeps of a model."""
    (model,) = (folder / "artifacts").rglob("model.onnx")
    return model.parent


def registered(client: MlflowClient, number: int = 2) -> list[str]:
    """Make versions without files, of which each has the digest that its number says."""
    client.create_registered_model(NAME)
    made = [
        client.create_model_version(NAME, f"s3://models/{n}", tags={"model_sha256": f"{n}" * 64})
        for n in range(1, number + 1)
    ]
    return [str(version.version) for version in made]


def another_run() -> mlflow.ActiveRun:
    """Start a run beside the open one; without its experiment, artifacts would go into the current folder."""
    return mlflow.start_run(nested=True, experiment_id=mlflow.active_run().info.experiment_id)


class TestSummary:
    """What of a model card becomes the description of a version."""

    def test_is_the_first_section(self) -> None:
        """The title and what stands before the first heading."""
        assert versions.summary(CARD) == "# Model card\n\nShort."

    def test_fits_into_the_database(self) -> None:
        """A first section that is too long is cut to what MLflow's table of versions takes."""
        column = SqlModelVersion.__table__.columns["description"]
        assert versions.DESCRIPTION_LENGTH == column.type.length
        assert len(versions.summary("x" * 9000)) == column.type.length


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
        first = [versions.register(NAME, made, lock, keys) for _ in range(2)]
        with another_run():
            second = versions.register(NAME, made, lock, keys)
        assert (["1", "1"], "2") == (first, second)

    def test_creates_a_version_for_each_model(self, client: MlflowClient, lock: Path, keys: Keys) -> None:
        """Two models of one run, as in a notebook, are two versions."""
        models = [candidates.candidate(candidates.small_model(threshold)) for threshold in (0.5, 0.75)]
        assert ["1", "2"] == [versions.register(NAME, model, lock, keys) for model in models]

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
        number = versions.register(NAME, made, lock, keys)
        with versions.folder(versions.find(NAME, number)) as folder:
            assert (folder.changes(), folder.changes("data_changes.patch")) == (b"one", b"two")
            assert {"changes.patch", "data_changes.patch"} < set(folder.provenance().files)
            assert folder.provenance().run.git.patch is None

    def test_without_a_key_it_is_not_signed(
        self, client: MlflowClient, lock: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A version without a signature exists, with a warning, but does not score."""
        with caplog.at_level(logging.WARNING, "ml_lifecycle"):
            versions.register(NAME, candidates.candidate(), lock, Keys(tmp_path / "nowhere"))
        (said,) = [record.message for record in caplog.records if record.name == "ml_lifecycle.registry.versions"]
        assert "registered without a signature, so it cannot score yet: There is no key to sign with" in said
        assert not (stored(tmp_path) / "model.sig").exists()

    def test_with_a_key_nothing_is_warned(self, version: Version, caplog: pytest.LogCaptureFixture) -> None:
        """A signed version gives no cause for a warning."""
        assert [record for record in caplog.records if record.name.startswith("ml_lifecycle")] == []

    def test_development_keys_are_made(self, client: MlflowClient, lock: Path, tmp_path: Path) -> None:
        """Where a pair may be made, the first version makes it, and can be verified with it."""
        fresh = Keys(tmp_path / "fresh", create=True)
        number = versions.register(NAME, candidates.candidate(), lock, fresh)
        with versions.folder(versions.find(NAME, number)) as folder:
            assert folder.verify(fresh) == tmp_path / "fresh" / PUBLIC


class TestFind:
    """How people name a version."""

    def test_by_number_alias_and_digest(self, client: MlflowClient) -> None:
        """Number, alias, and 8 or more digits of the digest name the version."""
        registered(client, 3)
        client.set_registered_model_alias(NAME, "production", "2")
        references = ["2", "@production", "2" * 8, "2" * 64]
        assert ["2"] * 4 == [versions.find(NAME, reference).number for reference in references]

    def test_an_alias_is_found_with_its_version(self, client: MlflowClient) -> None:
        """A version knows its aliases, all of them."""
        registered(client)
        for alias in ("staging", "production"):
            client.set_registered_model_alias(NAME, alias, "2")
        assert [("2", ("production", "staging")), ("1", ())] == [
            (version.number, version.aliases) for version in versions.every(NAME)
        ]

    @pytest.mark.parametrize(
        "reference", ["3", "@staging", "@1", "production", "2222222", "3" * 8, "", "@", "02", "-1"]
    )
    def test_unknown(self, client: MlflowClient, reference: str) -> None:
        """What names nothing is refused with what there is."""
        registered(client)
        client.set_registered_model_alias(NAME, "production", "2")
        with pytest.raises(RegistryError) as refused:
            versions.find(NAME, reference)
        assert f"has no version '{reference}'" in str(refused.value)
        assert str(refused.value).endswith("There are: 2 @production (22222222), 1 (11111111).")

    def test_unknown_model(self, client: MlflowClient) -> None:
        """A model that was never registered has no versions."""
        with pytest.raises(RegistryError, match=r"'small_model' has no version '1'.*There are: none\."):
            versions.find(NAME, "1")

    def test_ambiguous_digest(self, client: MlflowClient, version: Version, lock: Path, keys: Keys) -> None:
        """The same bytes registered by two runs have one digest: the number tells them apart."""
        with another_run():
            versions.register(NAME, candidates.candidate(), lock, keys)
        with pytest.raises(RegistryError, match=r"names several versions of 'small_model', .*: 2, 1\. Name one by"):
            versions.find(NAME, version.digest[:12])

    def test_a_version_without_its_digest(self, client: MlflowClient, version: Version) -> None:
        """Who removed the tag with the digest leaves a version that only its number names."""
        client.delete_model_version_tag(NAME, version.number, "model_sha256")
        assert versions.find(NAME, "1").digest == ""
        with pytest.raises(RegistryError, match=r"There are: 1 @production \(\)\."):
            versions.find(NAME, version.digest)


class TestEvery:
    """All versions of a model."""

    def test_more_than_a_page(self, client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every page is read, the newest version comes first, 10 before 9."""
        numbers = registered(client, 11)
        small = functools.partialmethod(MlflowClient.search_model_versions, max_results=3)
        monkeypatch.setattr(MlflowClient, "search_model_versions", small)
        assert list(reversed(numbers)) == [version.number for version in versions.every(NAME)]

    def test_of_one_model_only(self, client: MlflowClient) -> None:
        """Another model's versions do not count."""
        registered(client, 1)
        client.create_registered_model("small_model_2")
        client.create_model_version("small_model_2", "s3://models/other")
        assert [NAME] == [version.name for version in versions.every(NAME)]

    def test_of_a_run(self, client: MlflowClient, version: Version, lock: Path, keys: Keys) -> None:
        """The versions that a run registered are found, and no others."""
        with another_run() as other:
            number = versions.register(NAME, candidates.candidate(), lock, keys)
        (found,) = versions.registered_by(NAME, other.info.run_id)
        assert (number, []) == (found.number, versions.registered_by(NAME, "no run"))


class TestLoad:
    """What answers under an alias."""

    def test_unknown_model(self, client: MlflowClient, keys: Keys) -> None:
        """A model that was never registered is refused with how to make one."""
        with pytest.raises(RegistryError, match=r"carries the alias '@production'.*`kedro run`.*in use: none\."):
            versions.load(NAME, "production", keys)

    def test_unknown_alias(self, version: Version, keys: Keys) -> None:
        """An alias that no version carries is refused with the ones in use."""
        with pytest.raises(RegistryError, match=r"carries the alias '@champion'.*in use: production\."):
            versions.load(NAME, "champion", keys)

    def test_unsigned(self, version: Version, keys: Keys, tmp_path: Path) -> None:
        """Without its signature a version is refused, and told how to be signed."""
        (stored(tmp_path) / "model.sig").unlink()
        refused = (
            r"Version 1 of 'small_model' is refused: it is not signed\. Nothing was scored\..*`kedro model sign 1`"
        )
        with pytest.raises(SignatureError, match=refused):
            versions.load(NAME, "production", keys)

    def test_signed_by_another_key(self, version: Version, tmp_path: Path) -> None:
        """The signature of a key that is not trusted is none."""
        with pytest.raises(SignatureError, match="is refused: it is signed by a key that is not trusted"):
            versions.load(NAME, "production", candidates.keys(tmp_path, "others"))

    def test_several_keys_are_trusted(
        self, version: Version, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One of the trusted keys is enough, whichever place it has."""
        other = candidates.keys(tmp_path, "others")
        trusted = [str(pair.folder / PUBLIC) for pair in (other, keys)]
        monkeypatch.setenv(VERIFYING_KEYS, os.pathsep.join(trusted))
        assert versions.load(NAME, "production", other).version == "1"

    def test_without_a_key_to_verify_with(self, version: Version, tmp_path: Path) -> None:
        """Nobody can tell without a public key: nothing is loaded, and the message says how to get one."""
        with pytest.raises(MissingKeyError, match=r"no key to verify signatures with.*`make keys`"):
            versions.load(NAME, "production", Keys(tmp_path / "nowhere"))

    @pytest.mark.parametrize(
        "file", ["model.onnx", "provenance.json", "evaluation.json", "MLmodel", "requirements.txt"]
    )
    def test_changed_byte(self, version: Version, keys: Keys, tmp_path: Path, file: str) -> None:
        """A byte that was changed in any file is noticed, and the file named."""
        path = stored(tmp_path) / file
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
        with pytest.raises(SignatureError, match=rf"it is not what was signed: .*{file}"):
            versions.load(NAME, "production", keys)

    def test_added_file(self, version: Version, keys: Keys, tmp_path: Path) -> None:
        """A file that was not signed is noticed, and named."""
        (stored(tmp_path) / "extra.py").write_text("print()", encoding="utf-8")
        with pytest.raises(SignatureError, match=r"it is not what was signed: .*extra\.py"):
            versions.load(NAME, "production", keys)

    def test_removed_file(self, version: Version, keys: Keys, tmp_path: Path) -> None:
        """A file that is not there any more is noticed, and named."""
        (stored(tmp_path) / "evaluation.json").unlink()
        with pytest.raises(SignatureError, match=r"it is not what was signed: .*evaluation\.json"):
            versions.load(NAME, "production", keys)

    def test_another_digest_than_registered(self, client: MlflowClient, version: Version, keys: Keys) -> None:
        """A signed model that is not the registered one is refused with both digests."""
        client.set_model_version_tag(NAME, version.number, "model_sha256", "ab" * 32)
        expected = (
            f"Version 1 of 'small_model' is damaged: registered with SHA-256 {'ab' * 32}, stored is {version.digest}"
        )
        with pytest.raises(RegistryError, match=expected):
            versions.load(NAME, "production", keys)

    def test_the_signed_folder_of_another_version(
        self, client: MlflowClient, version: Version, lock: Path, keys: Keys, tmp_path: Path
    ) -> None:
        """A whole folder that a trusted key signed, but for another version, is noticed by its digest."""
        place = stored(tmp_path)
        number = versions.register(NAME, candidates.candidate(candidates.small_model(0.75)), lock, keys)
        (other,) = {path.parent for path in (tmp_path / "artifacts").rglob("model.onnx")} - {place}
        for path in other.iterdir():
            (place / path.name).write_bytes(path.read_bytes())
        client.set_registered_model_alias(NAME, "staging", number)
        assert versions.load(NAME, "staging", keys).version == "2"
        with pytest.raises(RegistryError, match="Version 1 of 'small_model' is damaged"):
            versions.load(NAME, "production", keys)

    def test_missing_artifacts(self, version: Version, keys: Keys, tmp_path: Path) -> None:
        """A version whose files are gone is refused by name."""
        place = stored(tmp_path)
        place.rename(place.with_name("away"))
        with pytest.raises(RegistryError, match="The artifacts of version 1 of 'small_model' cannot be fetched"):
            versions.load(NAME, "production", keys)

    def test_missing_model(self, version: Version, keys: Keys, tmp_path: Path) -> None:
        """A folder that was signed without a model has none to give out."""
        folder = ModelFolder(stored(tmp_path))
        (folder.path / "model.onnx").unlink()
        folder.sign(keys)
        with pytest.raises(RegistryError, match=r"holds no model\.onnx"):
            versions.load(NAME, "production", keys)

    def test_a_fault_of_the_server_is_no_missing_artifact(
        self, version: Version, keys: Keys, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What MLflow says of itself is handed on: the artifacts may be there."""

        def fail(*_: Any, **__: Any) -> None:
            raise MlflowException("busy", error_code=8)

        monkeypatch.setattr(mlflow.artifacts, "download_artifacts", fail)
        with pytest.raises(MlflowException, match="busy"):
            versions.load(NAME, "production", keys)

    def test_leaves_no_copy(
        self, version: Version, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The local copy is gone after loading, and the stored folder is as it was."""
        (temporary := tmp_path / "temporary").mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(temporary))
        before = {path.name: path.read_bytes() for path in stored(tmp_path).iterdir()}
        versions.load(NAME, "production", keys)
        assert [] == [path.name for path in temporary.iterdir() if not path.name.startswith("matplotlib")]
        assert before == {path.name: path.read_bytes() for path in stored(tmp_path).iterdir()}


class TestPyfunc:
    """MLflow's own way to a version."""

    def test_gives_the_same_numbers(self, version: Version) -> None:
        """MLflow's own model takes pandas 3's text columns and gives the probe's answers."""
        rows = candidates.small_rows()
        answers = mlflow.pyfunc.load_model(f"models:/{NAME}/{version.number}").predict(rows)
        assert np.array_equal(rows["share"], answers[OUTPUT])

    def test_leaves_the_signature_whole(self, version: Version, keys: Keys, tmp_path: Path) -> None:
        """MLflow writes a file into the folder when it loads; that one is not signed, and the version still scores."""
        mlflow.pyfunc.load_model(f"models:/{NAME}/{version.number}")
        assert (stored(tmp_path) / "registered_model_meta").exists()
        assert versions.load(NAME, "production", keys).version == "1"
        with versions.folder(version) as folder:
            assert folder.verify(keys) == keys.folder / PUBLIC


class Planted:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        """Take the file to write."""
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        """Tell pickle to make the folder, which is as good as any command."""
        return os.mkdir, (str(self._path),)


class TestNothingIsExecuted:
    """A pickle beside the model is a file like any other: no loader opens it."""

    @pytest.fixture
    def trace(self, tmp_path: Path) -> Path:
        """Return what a planted pickle makes when it is loaded."""
        return tmp_path / "executed"

    def plant(self, folder: Path, file: str, trace: Path) -> bytes:
        """Put a pickle into a folder, and name it as the file that MLflow's flavours load."""
        content = pickle.dumps(Planted(trace))
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(content)
        flavour = f"flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n    model_path: {file}\n"
        (folder / "MLmodel").write_text(flavour, encoding="utf-8")
        return content

    def test_it_would_be(self, trace: Path) -> None:
        """Whoever unpickles it executes it: so these tests can fail."""
        pickle.loads(pickle.dumps(Planted(trace)))
        assert trace.exists()

    def test_mlflow_would(self, version: Version, tmp_path: Path, trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """MLflow's own loader executes it, where pickles are allowed."""
        monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
        self.plant(stored(tmp_path), "model.pkl", trace)
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it says of what it unpickled
            mlflow.pyfunc.load_model(f"models:/{NAME}/{version.number}").predict(candidates.small_rows())
        assert trace.exists()

    @pytest.mark.parametrize("file", PICKLES)
    def test_unsigned(self, version: Version, keys: Keys, tmp_path: Path, trace: Path, file: str) -> None:
        """Planted by somebody without the key, it is refused."""
        self.plant(stored(tmp_path), file, trace)
        with pytest.raises(SignatureError, match="it is not what was signed"):
            versions.load(NAME, "production", keys)
        assert not trace.exists()

    @pytest.mark.parametrize("file", PICKLES)
    def test_signed(self, version: Version, keys: Keys, tmp_path: Path, trace: Path, file: str) -> None:
        """Signed with a trusted key, the model scores, and nothing else is opened."""
        self.plant(stored(tmp_path), file, trace)
        ModelFolder(stored(tmp_path)).sign(keys)
        loaded = versions.load(NAME, "production", keys)
        assert loaded.model.content == candidates.small_model().content
        assert not trace.exists()

    def test_in_place_of_the_model(
        self, client: MlflowClient, version: Version, keys: Keys, tmp_path: Path, trace: Path
    ) -> None:
        """Even as the signed and registered model itself it is taken for ONNX, and is none."""
        content = self.plant(stored(tmp_path), "model.onnx", trace)
        ModelFolder(stored(tmp_path)).sign(keys)
        client.set_model_version_tag(NAME, version.number, "model_sha256", OnnxModel(content).digest)
        loaded = versions.load(NAME, "production", keys)
        with pytest.raises(Exception, match=r"(?i)protobuf|parsing|decode"):
            loaded.model.predict({})
        assert not trace.exists()


class TestStoreFile:
    """A file that is put into the folder of a version later."""

    def test_replaces(self, version: Version, keys: Keys, tmp_path: Path) -> None:
        """A new signature takes the place of the old one."""
        other = candidates.keys(tmp_path, "others")
        with versions.folder(version) as folder:
            folder.sign(other)
            versions.store_file(version, folder.path / signature.SIGNATURE)
        assert versions.load(NAME, "production", other).version == "1"

    def test_nowhere(self, client: MlflowClient, tmp_path: Path) -> None:
        """A version of an older MLflow has no folder of its own."""
        registered(client, 1)
        with pytest.raises(RegistryError, match="version 1 of 'small_model' was registered without a logged model"):
            versions.store_file(versions.find(NAME, "1"), tmp_path)


def test_unknown_model_has_no_aliases(client: MlflowClient) -> None:
    """A model that was never registered has no aliases, which is not an error."""
    assert (versions.aliases(NAME), versions.at_alias(NAME, "production"), versions.every(NAME)) == ({}, None, [])


def test_another_error_than_a_missing_model_is_handed_on(client: MlflowClient) -> None:
    """What MLflow refuses for another reason is not taken for a model without aliases."""
    with pytest.raises(MlflowException):
        versions.aliases("")


def test_signature_has_a_vector_per_feature() -> None:
    """Numbers are float32, text is text, in the order of the roles."""
    inputs = versions.signature(ROLES).inputs
    assert [("share", np.dtype("float32")), ("carrier", np.dtype("O"))] == [(each.name, each.type) for each in inputs]
    assert DataType.string not in inputs.input_types()


def test_requirements_are_pinned_from_the_lock(tmp_path: Path) -> None:
    """The model's requirements carry the versions of the lock, without markers and hashes."""
    (tmp_path / "run.txt").write_text(LOCK, encoding="utf-8")
    expected = ["mlflow==3.17.2", "numpy==1.0", "onnx==1.0", "onnxruntime==1.0", "pandas==1.0"]
    assert expected == versions.pinned(tmp_path / "run.txt")
