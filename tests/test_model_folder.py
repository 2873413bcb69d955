"""The folder of a registered model: what is written, signed and read again."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ml_lifecycle.errors import ProvenanceError, RegistryError
from ml_lifecycle.model_folder import CARD, MODEL, PROVENANCE, ModelFolder
from ml_lifecycle.model_version import Candidate
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.parameters import ExportOptions
from ml_lifecycle.pipelines.training import nodes
from ml_lifecycle.pipelines.training.packaging import package_model, record_training
from ml_lifecycle.provenance.record import (
    CHANGES,
    DATA_CHANGES,
    DATA_REPORT,
    EVALUATION,
    PROBE_SET,
    DataRecord,
    RunRecord,
    digest_of_labels,
    digest_of_probe,
)
from ml_lifecycle.signing.keys import PUBLIC, SIGNING_KEY, VERIFYING_KEYS, Keys, make_pair
from ml_lifecycle.signing.signature import MissingKeyError, SignatureError

NAME = "customers"
TOLD = {EVALUATION, DATA_REPORT, CARD, PROBE_SET}
REPORT = {"raw_inputs": {"customers": {"path": "data/customers.csv", "md5": "0" * 32, "size": 10}}, "rows": {}}


@pytest.fixture(scope="module")
def candidate(
    model_input: pd.DataFrame, onnx_model: OnnxModel, run_record: RunRecord, data_record: DataRecord
) -> Candidate:
    """A model of the customers, ready to be registered."""
    judge = model_input[model_input["row_split"] == "judge"]
    evaluation = {"model_sha256": onnx_model.digest, "judge_sha256": digest_of_labels(judge), "ümlaut": [0.1, None]}
    probe = nodes.draw_probe(onnx_model, model_input, ExportOptions(tolerance=1e-5, probe_rows=20))
    training = record_training(onnx_model, model_input, data_record.model_dump(mode="json"), run_record)
    card = f"# Model card\n\nSHA-256 {onnx_model.digest} →\n"
    return package_model(onnx_model, probe, evaluation, REPORT, card, training)


def changed(candidate: Candidate, run: bytes | None, data: bytes | None) -> Candidate:
    """The same model, but its runs had changes that no commit holds."""
    record = candidate.provenance
    assert record.data is not None

    def with_patch(of: RunRecord, patch: bytes | None) -> RunRecord:
        return of.model_copy(update={"git": of.git.model_copy(update={"dirty": True, "patch": patch})})

    made = record.data.model_copy(update={"run": with_patch(record.data.run, data)})
    update = {"run": with_patch(record.run, run), "data": made}
    return dataclasses.replace(candidate, provenance=record.model_copy(update=update))


@pytest.fixture
def folder(tmp_path: Path, candidate: Candidate) -> ModelFolder:
    """A folder in which the model lies, and nothing else."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / MODEL).write_bytes(candidate.model.content)
    return ModelFolder(tmp_path / "model")


@pytest.fixture
def described(folder: ModelFolder, candidate: Candidate) -> ModelFolder:
    """A folder in which all is told of the model."""
    folder.describe(candidate, NAME)
    return folder


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    """A pair of keys, and no other one named."""
    for name in (SIGNING_KEY, VERIFYING_KEYS):
        monkeypatch.delenv(name, raising=False)
    make_pair(tmp_path / "keys")
    return Keys(tmp_path / "keys")


def files_in(folder: ModelFolder) -> set[str]:
    """The names of all files."""
    return {str(path.relative_to(folder.path)) for path in folder.path.rglob("*")}


class TestDescribe:
    """What is written beside the model."""

    def test_writes_what_is_told(self, described: ModelFolder) -> None:
        """Record, evaluation, report on the data, card and probe set; the model is left as it is."""
        assert {MODEL, PROVENANCE, *TOLD} == files_in(described)

    def test_is_read_again(self, described: ModelFolder, candidate: Candidate) -> None:
        """Each part is what the candidate had."""
        assert candidate.model == described.model()
        assert candidate.evaluation == described.evaluation()
        assert candidate.data_report == json.loads(described.read(DATA_REPORT))
        assert candidate.model_card == described.read(CARD).decode()
        pd.testing.assert_frame_equal(candidate.probe.reset_index(drop=True), described.probe())

    def test_the_probe_keeps_its_digest(self, described: ModelFolder) -> None:
        """The answers that are read have the digest that the record names."""
        assert described.provenance().probe_sha256 == digest_of_probe(described.probe())

    def test_the_record_is_complete(self, described: ModelFolder, candidate: Candidate) -> None:
        """It is the candidate's, with the digest of every file beside it, and has no gaps."""
        record = described.provenance()
        digests = {name: hashlib.sha256((described.path / name).read_bytes()).hexdigest() for name in TOLD}
        assert candidate.provenance.model_copy(update={"files": digests}) == record
        assert [] == record.gaps()
        assert hashlib.sha256(described.read(MODEL)).hexdigest() == record.model_sha256

    def test_the_record_is_about_the_model(self, described: ModelFolder) -> None:
        """The statement names the registered model."""
        subject = json.loads(described.read(PROVENANCE))["subject"]
        assert [{"name": NAME, "digest": {"sha256": described.digest_of(MODEL)}}] == subject

    def test_is_the_same_every_time(self, described: ModelFolder, candidate: Candidate) -> None:
        """Writing it again gives the same bytes, so that digests can be compared."""
        before = {name: described.read(name) for name in files_in(described)}
        described.describe(candidate, NAME)
        assert before == {name: described.read(name) for name in files_in(described)}

    @pytest.mark.parametrize(
        ("run", "data", "kept"),
        [
            (None, None, {}),
            (b"\xff\0 run", None, {CHANGES: b"\xff\0 run"}),
            (None, b"data\r\n", {DATA_CHANGES: b"data\r\n"}),
            (b"run", b"data", {CHANGES: b"run", DATA_CHANGES: b"data"}),
        ],
        ids=["neither", "run", "data", "both"],
    )
    def test_keeps_changes(
        self,
        folder: ModelFolder,
        candidate: Candidate,
        run: bytes | None,
        data: bytes | None,
        kept: dict[str, bytes],
    ) -> None:
        """What the runs had changed is a file each, byte by byte and with its digest; without changes there is none."""
        folder.describe(changed(candidate, run, data), NAME)
        assert {MODEL, PROVENANCE, *TOLD, *kept} == files_in(folder)
        assert (kept.get(CHANGES), kept.get(DATA_CHANGES)) == (folder.changes(), folder.changes(DATA_CHANGES))
        digests = folder.provenance().files
        assert {name: hashlib.sha256(patch).hexdigest() for name, patch in kept.items()} == {
            name: digests[name] for name in digests if name not in TOLD
        }

    def test_without_the_run_that_made_the_data(self, folder: ModelFolder, candidate: Candidate) -> None:
        """A record that does not know it has no changes of it, and says so."""
        record = candidate.provenance.model_copy(update={"data": None})
        folder.describe(dataclasses.replace(candidate, provenance=record), NAME)
        assert ["the run that made the data"] == folder.provenance().gaps()
        assert DATA_CHANGES not in files_in(folder)


class TestSignature:
    """One signature over all of it."""

    def test_holds(self, described: ModelFolder, keys: Keys) -> None:
        """What was signed is verified, by the key that fits."""
        assert not described.is_signed
        described.sign(keys)
        assert described.is_signed
        assert keys.folder / PUBLIC == described.verify(keys)

    @pytest.mark.parametrize("file", [MODEL, PROVENANCE, CHANGES, *sorted(TOLD)])
    def test_covers_every_file(self, folder: ModelFolder, candidate: Candidate, keys: Keys, file: str) -> None:
        """A changed byte in any file breaks it, and the file is named."""
        folder.describe(changed(candidate, b"run", None), NAME)
        folder.sign(keys)
        (folder.path / file).write_bytes(folder.read(file) + b" ")
        assert folder.is_signed
        with pytest.raises(SignatureError, match=f"it is not what was signed.*{file}"):
            folder.verify(keys)

    def test_lacks(self, described: ModelFolder, keys: Keys) -> None:
        """Without a signature nothing is verified."""
        with pytest.raises(SignatureError, match="it is not signed"):
            described.verify(keys)

    def test_needs_a_key(self, described: ModelFolder, keys: Keys, tmp_path: Path) -> None:
        """Without a key there is no signature, and none can be verified."""
        none = Keys(tmp_path / "none")
        with pytest.raises(MissingKeyError, match="no key to sign with"):
            described.sign(none)
        assert not described.is_signed
        described.sign(keys)
        with pytest.raises(MissingKeyError, match="no key to verify signatures with"):
            described.verify(none)


READERS: dict[str, Callable[[ModelFolder], Any]] = {
    MODEL: ModelFolder.model,
    PROVENANCE: ModelFolder.provenance,
    EVALUATION: ModelFolder.evaluation,
    PROBE_SET: ModelFolder.probe,
    CARD: lambda folder: folder.read(CARD),
    DATA_REPORT: lambda folder: folder.digest_of(DATA_REPORT),
}


@pytest.mark.parametrize("file", READERS)
def test_a_missing_file_is_named(described: ModelFolder, file: str) -> None:
    """What the artifact store does not hold is said so, by the name of the file."""
    (described.path / file).unlink()
    with pytest.raises(RegistryError, match=f"^the artifact store holds no {file} of it$"):
        READERS[file](described)


def test_a_damaged_record_is_refused(described: ModelFolder) -> None:
    """A record that is cut off is no record."""
    (described.path / PROVENANCE).write_bytes(described.read(PROVENANCE)[:-10])
    with pytest.raises(ProvenanceError, match="cannot be read"):
        described.provenance()


def test_changes_need_not_be_there(described: ModelFolder) -> None:
    """Most versions come from a clean tree."""
    assert (None, None) == (described.changes(), described.changes(DATA_CHANGES))


class TestEarlierRecord:
    """A version made before records lay in its folder."""

    OLD = Path(__file__).parent / "provenance/record_v1.json"

    def test_is_read(self, folder: ModelFolder) -> None:
        """Its record comes from where it was kept, and names its gaps."""
        earlier = dataclasses.replace(folder, earlier_record=self.OLD.read_bytes())
        assert "the run that made the data" in earlier.provenance().gaps()

    def test_does_not_count_beside_a_record(self, described: ModelFolder) -> None:
        """A record in the folder, which is signed, is the one that counts."""
        both = dataclasses.replace(described, earlier_record=self.OLD.read_bytes())
        assert described.provenance() == both.provenance()
