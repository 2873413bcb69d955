"""The record of a model's origin."""

import hashlib
import struct

import pandas as pd
import pytest
from pydantic import ValidationError

from ml_lifecycle.provenance.record import (
    Environment,
    GitState,
    Provenance,
    RawInput,
    RunRecord,
    digest_of_parameters,
    digest_of_probe,
    raw_input_tags,
    run_tags,
)

RUN = RunRecord(
    started_at="2013-10-01T00:00:00+00:00",
    kedro_environment="base",
    pipelines=["data_engineering", "training"],
    git=GitState(commit="c0ffee", dirty=True, diff_sha256="d1ff"),
    environment=Environment(python="3.11.7", platform="Linux", lock_sha256="10c4"),
    parameters={"seed": 2013},
    parameters_sha256="9a4a",
)
FLIGHTS = RawInput(path="data/flights.csv", md5="f119", size=3)
PROVENANCE = Provenance(run=RUN, raw_inputs={"flights": FLIGHTS}, model_sha256="30de", probe_sha256="940b")


def test_run_tags_are_flat_text() -> None:
    """What is known at the start of a run becomes one text per tag."""
    assert run_tags(RUN) == {
        "git.commit": "c0ffee",
        "git.dirty": "true",
        "git.diff_sha256": "d1ff",
        "lock_sha256": "10c4",
        "parameters_sha256": "9a4a",
        "kedro.environment": "base",
        "kedro.pipelines": "data_engineering+training",
        "python": "3.11.7",
        "platform": "Linux",
    }


def test_raw_inputs_are_tagged_with_their_hash() -> None:
    """Each raw input is a tag named after its dataset."""
    assert raw_input_tags({"flights": FLIGHTS}) == {"dvc.flights": "f119"}


def test_tags_of_a_version_cover_the_whole_record() -> None:
    """A version's tags are those of the run, of its raw inputs, and the two digests."""
    digests = {"model_sha256": "30de", "probe_sha256": "940b"}
    assert {**run_tags(RUN), "dvc.flights": "f119", **digests} == PROVENANCE.tags()


def test_record_survives_json() -> None:
    """What is written can be read again."""
    assert Provenance.model_validate_json(PROVENANCE.model_dump_json()) == PROVENANCE


@pytest.mark.parametrize("part", ["run", "raw_inputs", "model_sha256", "probe_sha256"])
def test_incomplete_record_is_refused(part: str) -> None:
    """A record lacking any part does not exist."""
    record = PROVENANCE.model_dump()
    del record[part]
    with pytest.raises(ValidationError, match=f"{part}\n  Field required"):
        Provenance.model_validate(record)


def test_unknown_part_is_refused() -> None:
    """A record holds nothing that the schema does not know."""
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Provenance.model_validate({**PROVENANCE.model_dump(), "mood": "good"})


def test_other_schema_version_is_refused() -> None:
    """A record of another version of the schema is not read as this one."""
    with pytest.raises(ValidationError, match="schema_version"):
        Provenance.model_validate({**PROVENANCE.model_dump(), "schema_version": 2})


def test_record_cannot_be_changed() -> None:
    """A record stays as it was made."""
    with pytest.raises(ValidationError, match="frozen"):
        PROVENANCE.model_sha256 = "other"


def test_order_of_parameters_does_not_count() -> None:
    """The same parameters in another order have the same digest."""
    assert digest_of_parameters({"a": 1, "b": {"c": 2, "d": 3}}) == digest_of_parameters(
        {"b": {"d": 3, "c": 2}, "a": 1}
    )


@pytest.mark.parametrize("other", [{"a": 2}, {"b": 1}, {"a": 1, "b": 1}, {"a": "1"}, {"a": None}, {}])
def test_every_parameter_counts(other: dict[str, object]) -> None:
    """A changed, renamed, added, retyped or removed parameter changes the digest."""
    assert digest_of_parameters({"a": 1}) != digest_of_parameters(other)


def test_digest_of_probe_is_that_of_its_float32() -> None:
    """The digest is SHA-256 over the little-endian float32 probabilities."""
    expected = hashlib.sha256(struct.pack("<2f", 0.25, 0.5)).hexdigest()
    assert expected == digest_of_probe(pd.DataFrame({"probability": [0.25, 0.5]}))
