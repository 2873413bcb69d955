"""What is known about a version, and about an answer."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

import candidates
from candidates import NAME, World
from ml_lifecycle import lineage, prediction_log, request_id
from ml_lifecycle.errors import RegistryError
from ml_lifecycle.lineage import PredictionError
from ml_lifecycle.metrics import METRICS
from ml_lifecycle.prediction_log import RequestIdError
from ml_lifecycle.registry import records, versions
from ml_lifecycle.registry.versions import Version
from ml_lifecycle.signing.keys import SIGNING_KEY, VERIFYING_KEYS, Keys

pytestmark = pytest.mark.filterwarnings("default")  # of third parties; test_lifecycle.py tests that a user sees none


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Make an empty registry; what stands for a workspace is typed as anything."""
    monkeypatch.delenv(SIGNING_KEY, raising=False)
    monkeypatch.delenv(VERIFYING_KEYS, raising=False)
    with candidates.world(tmp_path) as made:
        yield made


class TestInShort:
    """A version in a few fields."""

    def test_of_a_complete_version(self, world: Any) -> None:
        """Everything is read from version, folder and tags."""
        version = world.add()
        world.promote(version)
        world.promote(version, "staging")
        found = lineage.in_short(world.find("1"), world)
        run = candidates.run()
        expected = {
            "version": "1",
            "aliases": ["production", "staging"],
            "created": version.created.isoformat(timespec="seconds"),
            "digest": version.digest,
            "metrics": candidates.evaluation(candidates.small_model())["model"],
            "commit": run.git.commit,
            "clean": True,
            "data": {"table": "7ab1" * 8},
            "signature": "verified",
            "signature_detail": "by signing.pub",
            "verdicts": {"gate for @staging": "yes", "gate for @production": "yes"},
        }
        assert expected == found

    def test_of_a_dirty_one(self, world: Any) -> None:
        """Uncommitted changes are told."""
        assert lineage.in_short(world.add(candidates.candidate(dirty=True)), world)["clean"] is False

    def test_only_the_known_metrics(self, world: Any) -> None:
        """A metric that is missing is None, one that is not known is left out."""
        version = world.add()
        told = {"model": {"roc_auc": {"value": 0.7}, "other": {"value": 1}}}
        (world.stored(version).path / "evaluation.json").write_text(json.dumps(told), encoding="utf-8")
        found = lineage.in_short(version, world)["metrics"]
        assert found == dict.fromkeys(METRICS) | {"roc_auc": {"value": 0.7}}

    @pytest.mark.parametrize("content", [b"{", b"{}", b"[]", b"[1]", b"7", b'{"model": 7}', b"\xff", None])
    def test_an_unreadable_evaluation(self, world: Any, content: bytes | None) -> None:
        """What cannot be read is None; the rest is told."""
        version = world.add()
        path = world.stored(version).path / "evaluation.json"
        path.unlink() if content is None else path.write_bytes(content)
        found = lineage.in_short(version, world)
        assert (found["metrics"], found["signature"], found["version"]) == (None, "refused", "1")

    def test_of_a_version_without_tags(self, world: Any) -> None:
        """A version that others registered has no commit and no data."""
        found = lineage.in_short(replace(world.add(), tags={}), world)
        assert (found["commit"], found["clean"], found["data"], found["digest"], found["verdicts"]) == (
            None,
            None,
            {},
            "",
            {},
        )

    def test_without_its_artifacts(self, world: Any) -> None:
        """A version whose files are gone is told as far as the registry knows it."""
        version = world.add()
        place = world.stored(version).path
        place.rename(place.with_name("away"))
        found = lineage.in_short(version, world)
        assert (found["metrics"], found["signature"], found["commit"]) == (
            None,
            "unchecked",
            candidates.run().git.commit,
        )
        assert "The artifacts of version 1 of 'small_model' cannot be fetched" in found["signature_detail"]


class TestInFull:
    """A version with everything that is recorded of it."""

    def test_of_a_complete_version(self, world: Any) -> None:
        """Besides the few fields: run, record, decisions and reproductions."""
        version = world.add()
        world.decide(version, reason="a look")
        records.store(version, records.REPRODUCTION, {"answer": "yes"}, (lineage.REPRODUCED, "yes: bit for bit"))
        version = world.find("1")
        found = lineage.in_full(version, world)
        assert lineage.in_short(version, world).items() <= found.items()
        assert (found["run"], found["record"]["run"]["parameters"]) == (version.run_id, candidates.PARAMETERS)
        assert found["record"]["model_sha256"] == version.digest
        assert [("a look", "production")] == [(kept["reason"], kept["alias"]) for kept in found["decisions"]]
        assert [version.digest] == [kept["digest"] for kept in found["reproductions"]]
        assert found["verdicts"] == {"gate for @production": "yes", "reproduced": "yes: bit for bit"}

    def test_an_unreadable_record(self, world: Any) -> None:
        """Without a readable record the rest is told."""
        version = world.add()
        (world.stored(version).path / "provenance.json").write_text("{", encoding="utf-8")
        found = lineage.in_full(version, world)
        assert (found["record"], found["digest"]) == (None, version.digest)

    def test_without_its_artifacts(self, world: Any) -> None:
        """A version whose files are gone has no record."""
        version = world.add()
        place = world.stored(version).path
        place.rename(place.with_name("away"))
        assert lineage.in_full(version, world)["record"] is None

    def test_without_its_run(self, world: Any) -> None:
        """The records of a run that is gone are not simply none."""
        with pytest.raises(RegistryError, match=rf"The run {'0' * 32}, which made version 1 of 'small_model', is gone"):
            lineage.in_full(replace(world.add(), run_id="0" * 32), world)


def logged(world: World, version: Version, **changes: Any) -> str:
    """Log an answer of a version; return its id."""
    time = pd.Timestamp("2013-12-01 08:00:05", tz="UTC").as_unit("us")
    (name,) = request_id.of_rows(version.digest, time, ["row 1"])
    answer = {
        "request_id": name,
        "request_key": "row 1",
        "probability": 0.25,
        "decision": "no",
        "model_name": NAME,
        "model_version": version.number,
        "model_digest": version.digest,
        "scored_at": time,
    }
    folder = Path(world.prediction_log[0]) / request_id.folder_of(request_id.day_of(name))
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame([answer | changes]).to_parquet(folder / "run.parquet", index=False)
    return name


class TestTrace:
    """From an answer back to its version."""

    def test_finds_answer_and_version(self, world: Any) -> None:
        """The id leads to the answer as it was given, and to the version that gave it."""
        world.add(candidates.candidate(candidates.small_model(0.75)))
        version = world.add()
        name = logged(world, version)
        answer, found = lineage.trace(name, world)
        assert answer == prediction_log.find(world.prediction_log[0], name)
        assert (answer.request_id, answer.probability, found) == (name, 0.25, version)

    def test_an_unknown_id(self, world: Any) -> None:
        """An id that no answer has is told with the log, and where else to look."""
        name = logged(world, world.add())
        unknown = name[:-4] + "0000"
        with pytest.raises(
            PredictionError, match=rf"No answer in the prediction log \(.*log\) has the id {unknown}.*--env"
        ):
            lineage.trace(unknown, world)

    def test_an_empty_log(self, world: Any) -> None:
        """Where nothing was ever scored no answer is found."""
        with pytest.raises(PredictionError, match="No answer in the prediction log"):
            lineage.trace(f"20131201-{'0' * 32}", world)

    @pytest.mark.parametrize("text", ["", "1", "20131201-xyz", "../../etc/passwd", f"20131301-{'0' * 32}"])
    def test_a_malformed_id(self, world: Any, text: str) -> None:
        """What is no id is refused with the form of one."""
        with pytest.raises(RequestIdError, match=r"is no request id\. One looks like"):
            lineage.trace(text, world)

    def test_another_digest(self, world: Any) -> None:
        """A version that has another model than the answer names is told with both digests."""
        version = world.add()
        name = logged(world, version)
        MlflowClient().set_model_version_tag(NAME, "1", "model_sha256", "ab" * 32)
        expected = (
            rf"version 1 of 'small_model' with SHA-256 {version.digest}, but .* has SHA-256 {'ab' * 32}\..*audit 1`"
        )
        with pytest.raises(PredictionError, match=expected):
            lineage.trace(name, world)

    def test_no_digest(self, world: Any) -> None:
        """A version whose digest was removed proves nothing."""
        name = logged(world, world.add())
        MlflowClient().delete_model_version_tag(NAME, "1", "model_sha256")
        with pytest.raises(PredictionError, match="that this version has SHA-256 nothing"):
            lineage.trace(name, world)

    @pytest.mark.parametrize("changes", [{"model_version": "9"}, {"model_name": "other"}])
    def test_a_version_that_is_gone(self, world: Any, changes: dict[str, str]) -> None:
        """An answer of a version that is not there any more names it."""
        name = logged(world, world.add(), **changes)
        with pytest.raises(RegistryError, match="has no version"):
            lineage.trace(name, world)


def test_a_key_to_verify_with_is_needed_for_a_verdict_on_the_signature(world: Any) -> None:
    """Without a key the signature is unchecked, and the rest is told."""
    version = world.add()
    found = lineage.in_short(version, replace(world, keys=Keys(Path("nowhere"))))
    assert (found["signature"], versions.every(NAME)) == ("unchecked", [version])
