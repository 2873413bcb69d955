"""Records about a version, in the run that made it."""

import hashlib
import json
from datetime import datetime
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

import candidates
from candidates import NAME
from ml_lifecycle import whoami
from ml_lifecycle.errors import RegistryError
from ml_lifecycle.registry import records, registration, versions
from ml_lifecycle.registry.versions import Version
from ml_lifecycle.signing.keys import Keys

pytestmark = pytest.mark.filterwarnings("default")  # of third parties; test_lifecycle.py tests that a user sees none

TAG = ("decision.production", "yes")


def file_of(record: records.Record, folder: Path) -> Path:
    """Find the file that a record is."""
    (path,) = (folder / "artifacts").rglob(Path(record.path).name)
    return path


def test_a_record_comes_out_again(client: MlflowClient, version: Version) -> None:
    """Kept are the content, what it is about, and who, where and when."""
    record = records.store(version, records.DECISION, {"answer": "yes", "figures": {"value": 0.5}}, TAG)
    assert [record] == records.of(version, records.DECISION)
    content = record.content or {}
    about = ("decision", NAME, "1", version.digest, "yes", {"value": 0.5}, whoami.user(), whoami.machine())
    names = ("kind", "model", "version", "digest", "answer", "figures", "by", "where")
    assert about == tuple(content[name] for name in names)
    assert datetime.fromisoformat(content["at"]).utcoffset() is not None


def test_the_digest_is_that_of_the_file(version: Version, tmp_path: Path) -> None:
    """The SHA-256 of a record is that of the bytes in the artifact store."""
    record = records.store(version, records.DECISION, {"reason": "größer – besser"}, TAG)
    content = file_of(record, tmp_path).read_bytes()
    assert (hashlib.sha256(content).hexdigest(), json.loads(content)) == (record.sha256, record.content)


def test_the_short_form_is_a_tag(client: MlflowClient, version: Version) -> None:
    """Lists need not open the file; the last word counts."""
    for word in ("no", "yes"):
        records.store(version, records.DECISION, {}, ("decision.staging", word))
    assert client.get_model_version(NAME, version.number).tags["decision.staging"] == "yes"


def test_in_order_of_time(version: Version) -> None:
    """The oldest comes first, however many there are."""
    made = [records.store(version, records.DECISION, {"number": n}, TAG) for n in range(12)]
    assert made == records.of(version, records.DECISION)


def test_by_kind_and_version(client: MlflowClient, lock: Path, keys: Keys) -> None:
    """Kinds, and versions 1 and 10 that one run made, are kept apart."""
    for n in range(10):
        model = candidates.small_model((n + 1) / 20)
        registration.register(NAME, candidates.candidate(model), lock, keys)
    first, tenth = versions.find(NAME, "1"), versions.find(NAME, "10")
    assert first.run_id == tenth.run_id
    for version in (first, tenth):
        for kind in (records.DECISION, records.REPRODUCTION, records.OVERTAKEN):
            records.store(version, kind, {}, TAG)
    for version in (first, tenth):
        for kind in (records.DECISION, records.REPRODUCTION, records.OVERTAKEN):
            (found,) = records.of(version, kind)
            assert ((found.content or {})["kind"], (found.content or {})["version"]) == (kind, version.number)


def test_there_are_none(version: Version) -> None:
    """A version about which nothing was said has no records."""
    assert records.of(version, records.DECISION) == []


@pytest.mark.parametrize("content", [b"{", b"", b"[1]", b"null", b"\xff\xfe\x00", b'{"answer": "yes"'])
def test_an_unreadable_record(version: Version, tmp_path: Path, content: bytes) -> None:
    """What somebody made of a record is told as such: its digest, but no content; the others can be read."""
    broken, whole = (records.store(version, records.DECISION, {"number": n}, TAG) for n in range(2))
    file_of(broken, tmp_path).write_bytes(content)
    expected = records.Record(broken.path, hashlib.sha256(content).hexdigest(), None)
    assert [expected, whole] == records.of(version, records.DECISION)


def test_a_changed_record_has_another_digest(version: Version, tmp_path: Path) -> None:
    """Any byte counts, also an end of line that JSON does not mind."""
    record = records.store(version, records.DECISION, {"answer": "no"}, TAG)
    path = file_of(record, tmp_path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    (found,) = records.of(version, records.DECISION)
    assert (found.content, found.sha256 != record.sha256) == (record.content, True)


def test_the_run_is_gone(version: Version) -> None:
    """Without the run that made it, a version has no records, and that is said."""
    gone = versions.Version(NAME, "1", "0" * 32, version.created, version.tags)
    with pytest.raises(RegistryError, match=rf"The run {'0' * 32}, which made version 1 of 'small_model', is gone\."):
        records.of(gone, records.DECISION)


def test_another_fault_is_handed_on(version: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot answer is not taken for a run that is gone."""

    def fail(*_: object) -> None:
        raise MlflowException("busy", error_code=8)

    monkeypatch.setattr(mlflow.MlflowClient, "list_artifacts", fail)
    with pytest.raises(MlflowException, match="busy"):
        records.of(version, records.DECISION)
