"""The record of a model's origin."""

import hashlib
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

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
    digest_of_table,
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
DATA = DataRecord(model_input_sha256="7ab1", run=RUN)
COMPLETE = PROVENANCE.model_copy(
    update={
        "data": DATA,
        "judge_sha256": "70d9",
        "files": {"evaluation.json": "e7a1", "data_report.json": "4e90", "probe_set.parquet": "940b"},
    }
)


def in_state(run: RunRecord, **state: object) -> RunRecord:
    """Return the record of a run whose code was in another state."""
    return run.model_copy(update={"git": run.git.model_copy(update=state)})


def deviating(run: RunRecord, **deviations: str) -> RunRecord:
    """Return the record of a run with other packages than the lock's."""
    return run.model_copy(update={"environment": run.environment.model_copy(update={"deviations": deviations})})


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


def test_a_run_in_a_container_is_tagged_with_its_image() -> None:
    """Elsewhere there is no such tag."""
    contained = RUN.model_copy(update={"environment": RUN.environment.model_copy(update={"image": "sha256:1a"})})
    assert {**run_tags(RUN), "image": "sha256:1a"} == run_tags(contained)


def test_raw_inputs_are_tagged_with_their_hash() -> None:
    """Each raw input is a tag named after its dataset."""
    assert raw_input_tags({"flights": FLIGHTS}) == {"dvc.flights": "f119"}


def test_tags_of_a_version_cover_the_whole_record() -> None:
    """A version's tags are those of the run, of its raw inputs, and the two digests."""
    digests = {"model_sha256": "30de", "probe_sha256": "940b"}
    assert {**run_tags(RUN), "dvc.flights": "f119", **digests} == PROVENANCE.tags()


def test_record_survives_json() -> None:
    """What is written can be read again."""
    for record in (PROVENANCE, COMPLETE):
        assert Provenance.model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize("patch", [None, b"", b"diff --git a/x b/x\n", b"\xff\0\r\n" * 100], ids=repr)
def test_changes_survive_json(patch: bytes | None) -> None:
    """Whatever bytes a run had changed, they are read as they were, from a dictionary as from text."""
    run = in_state(RUN, patch=patch)
    assert run == RunRecord.model_validate(run.model_dump(mode="json")) == RunRecord.model_validate(run.model_dump())
    assert run == RunRecord.model_validate_json(run.model_dump_json())


def test_changes_that_are_no_base64_are_refused() -> None:
    """Damaged changes are not read as others."""
    damaged = RUN.model_dump(mode="json")
    damaged["git"]["patch"] = "no base64!"
    with pytest.raises(ValidationError, match=r"git\.patch"):
        RunRecord.model_validate(damaged)


def test_the_runs_stand_in_the_order_of_the_work() -> None:
    """The run that made the data comes first; a record of the first schema knows only the other one."""
    early = RUN.model_copy(update={"started_at": "2013-09-01T00:00:00+00:00"})
    complete = COMPLETE.model_copy(update={"data": DataRecord(model_input_sha256="7ab1", run=early)})
    assert ((RUN,), (early, RUN)) == (PROVENANCE.runs, complete.runs)


@pytest.mark.parametrize(("training", "data", "dirty"), [(0, 0, False), (0, 1, True), (1, 0, True), (1, 1, True)])
def test_a_model_is_dirty_if_one_of_its_runs_was(training: int, data: int, dirty: bool) -> None:
    """Changes that no commit holds count in either run, also in the tag to search for."""
    made = DATA.model_copy(update={"run": in_state(RUN, dirty=bool(data))})
    record = COMPLETE.model_copy(update={"run": in_state(RUN, dirty=bool(training)), "data": made})
    assert (dirty, str(dirty).lower()) == (record.is_dirty, record.tags()["git.dirty"])


class TestGaps:
    """What a record does not tell."""

    def test_a_complete_record_has_none(self) -> None:
        """Nothing is missing where everything is told."""
        assert [] == COMPLETE.gaps()

    @pytest.mark.parametrize(
        ("lost", "gap"),
        [
            ({"data": None}, "the run that made the data"),
            ({"judge_sha256": None}, "the rows it was judged on"),
            ({"raw_inputs": {}}, "the raw inputs"),
            *[
                ({"files": {name: "0" for name in COMPLETE.files if name != file}}, f"the digest of {file}")
                for file in COMPLETE.files
            ],
        ],
    )
    def test_what_is_missing_is_named(self, lost: dict[str, object], gap: str) -> None:
        """Each part that a record of an older schema, or of a strange run, lacks is one gap."""
        assert [gap] == COMPLETE.model_copy(update=lost).gaps()

    def test_a_package_beside_the_lock_is_named_once(self) -> None:
        """A version that the lock does not name is a gap, of either run; twice the same is one."""
        made = DATA.model_copy(update={"run": deviating(RUN, numpy="2.5.0", onnx="1.0")})
        record = COMPLETE.model_copy(update={"run": deviating(RUN, numpy="2.5.0"), "data": made})
        expected = [f"where {name} comes from, which is not in the lock" for name in ("numpy 2.5.0", "onnx 1.0")]
        assert expected == record.gaps()


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


ROWS = pd.DataFrame(
    {
        "row_key": ["b", "a", "c"],
        "row_time": pd.to_datetime(["2013-01-02", None, "2013-01-01"]).as_unit("us"),
        "row_target": np.array([0, 1, 1], np.int8),
        "model": np.array([0.1, 0.2, 0.3], np.float32),
    }
)


class TestTable:
    """The digest of a table."""

    @pytest.mark.parametrize(
        "same",
        [
            ROWS.set_index(np.array([7, 8, 9])),
            pd.concat([ROWS.iloc[:1], ROWS.iloc[1:]]),
            pd.concat([ROWS.iloc[:1], ROWS, ROWS]).iloc[1:4],
            pd.concat([ROWS, ROWS.assign(row_key=ROWS["row_key"].where(ROWS["model"] > 1))]).iloc[:3],
        ],
        ids=["index", "pieces", "middle", "head"],
    )
    def test_depends_on_the_table_alone(self, same: pd.DataFrame) -> None:
        """The same table has the same digest, whatever its index is, and in how many pieces it lies in memory."""
        pd.testing.assert_frame_equal(ROWS, same.reset_index(drop=True))
        assert digest_of_table(ROWS) == digest_of_table(same)

    def test_ignores_the_bits_of_nan(self) -> None:
        """What is not a number has many forms, of which Parquet keeps none."""
        missing = np.array([0x7FC00000, 0xFFC00000, 0x7FC00001], np.uint32).view(np.float32)
        assert 1 == len({digest_of_table(pd.DataFrame({"x": [value]}, dtype="float32")) for value in missing})

    def test_a_large_table_survives_parquet(self, tmp_path: Path) -> None:
        """Parquet is read in several pieces; the table is the same one."""
        table = pd.DataFrame({"row_key": np.arange(150_000).astype("str")}).astype({"row_key": "str"})
        table.to_parquet(tmp_path / "rows.parquet")
        read = pd.read_parquet(tmp_path / "rows.parquet")
        assert read["row_key"].array._pa_array.num_chunks > 1
        assert digest_of_table(table) == digest_of_table(read)

    def test_survives_parquet(self, tmp_path: Path) -> None:
        """A table that is written and read again is the same one: training reads what data engineering wrote."""
        ROWS.to_parquet(tmp_path / "rows.parquet")
        assert digest_of_table(ROWS) == digest_of_table(pd.read_parquet(tmp_path / "rows.parquet"))

    @pytest.mark.parametrize(
        "other",
        [
            ROWS.rename(columns={"model": "score"}),
            ROWS.iloc[::-1],
            ROWS.iloc[:2],
            ROWS[list(reversed(ROWS.columns))],
            ROWS.astype({"model": "float64"}),
            ROWS.assign(model=np.nextafter(ROWS["model"], np.float32(1))),
            ROWS.assign(row_time=ROWS["row_time"].fillna(pd.Timestamp(0))),
        ],
        ids=["name", "order", "rows", "columns", "type", "last bit", "missing"],
    )
    def test_every_difference_counts(self, other: pd.DataFrame) -> None:
        """Another name, order, type or value, be it the last bit, has another digest."""
        assert digest_of_table(ROWS) != digest_of_table(other)


class TestLabels:
    """The digest of the rows that a model is judged on."""

    @pytest.mark.parametrize(
        "same", [ROWS.iloc[::-1], ROWS.assign(model=np.float32(0)), ROWS.drop(columns="model"), ROWS.set_index("model")]
    )
    def test_ignores_order_and_other_columns(self, same: pd.DataFrame) -> None:
        """The order of the rows and the answers of a model do not count."""
        assert digest_of_labels(ROWS) == digest_of_labels(same)

    @pytest.mark.parametrize(
        "other",
        [
            ROWS.assign(row_key=["b", "a", "d"]),
            ROWS.assign(row_target=np.array([0, 1, 0], np.int8)),
            ROWS.assign(row_time=pd.to_datetime(["2013-01-02", None, "2013-01-03"]).as_unit("us")),
            ROWS.iloc[:2],
            pd.concat([ROWS, ROWS.iloc[:1]]),
        ],
        ids=["key", "label", "time", "row less", "row twice"],
    )
    def test_keys_times_and_labels_count(self, other: pd.DataFrame) -> None:
        """Another key, time or label, a row more or less: other rows."""
        assert digest_of_labels(ROWS) != digest_of_labels(other)
