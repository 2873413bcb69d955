"""Versions of a registered model, on a real MLflow that keeps its data in SQLite."""

import functools
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

import candidates
from candidates import NAME
from ml_lifecycle.errors import RegistryError
from ml_lifecycle.model_folder import ModelFolder
from ml_lifecycle.onnx_model import OUTPUT, OnnxModel
from ml_lifecycle.registry import registration, versions
from ml_lifecycle.registry.versions import Version
from ml_lifecycle.signing import signature
from ml_lifecycle.signing.keys import PUBLIC, VERIFYING_KEYS, Keys
from ml_lifecycle.signing.signature import MissingKeyError, SignatureError
from mlflow_store import another_run, stored

pytestmark = pytest.mark.filterwarnings("default")  # of third parties; test_lifecycle.py tests that a user sees none

#: Names of files that some loader takes for a pickle, or runs.
PICKLES = ("model.pkl", "python_model.pkl", "python_env.yaml", "code/loader.pkl", "data/model.joblib", "model.onnx.pkl")


def registered(client: MlflowClient, number: int = 2) -> list[str]:
    """Make versions without files, of which each has the digest that its number says."""
    client.create_registered_model(NAME)
    made = [
        client.create_model_version(NAME, f"s3://models/{n}", tags={"model_sha256": f"{n}" * 64})
        for n in range(1, number + 1)
    ]
    return [str(version.version) for version in made]


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
            registration.register(NAME, candidates.candidate(), lock, keys)
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
            number = registration.register(NAME, candidates.candidate(), lock, keys)
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
        number = registration.register(NAME, candidates.candidate(candidates.small_model(0.75)), lock, keys)
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
