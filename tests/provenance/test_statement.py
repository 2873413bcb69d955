"""The record as an in-toto Statement with SLSA provenance."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement as InToto

from ml_lifecycle.errors import ProvenanceError
from ml_lifecycle.provenance import statement
from ml_lifecycle.provenance.record import (
    DataRecord,
    Environment,
    GitState,
    Provenance,
    RawInput,
    RunRecord,
    digest_of_parameters,
)

OLD = Path(__file__).with_name("record_v1.json")
PARAMETERS: dict[str, Any] = {
    "seed": 2013,
    "split": {"judge_from": "2013-10-01", "choose_from": None, "shares": [0.1, 0.2]},
    "text": {"yes": "yes", "number": "1e3", "null": "null", "empty": "", "ümlaut": "→"},
    "model": {"n_jobs": -1, "C": 1.0, "l2": 1e-300, "on": True},
    "nothing": {},
}
RUN = RunRecord(
    started_at="2013-12-01T10:00:00+00:00",
    kedro_environment="base",
    pipelines=["data_engineering", "training"],
    git=GitState(commit="c0" * 20, dirty=True, diff_sha256="d1" * 32),
    environment=Environment(
        python="3.11.9", platform="Linux-x86_64", lock_sha256="1c" * 32, deviations={"numpy": "2.5.0"}
    ),
    parameters=PARAMETERS,
    parameters_sha256=digest_of_parameters(PARAMETERS),
    runtime_parameters={"split": {"judge_from": "2013-10-01", "choose_from": None}},
)
CLEAN = GitState(commit="de" * 20, dirty=False, diff_sha256="e3" * 32)
RECORD = Provenance(
    run=RUN,
    data=DataRecord(model_input_sha256="7a" * 32, run=RUN.model_copy(update={"git": CLEAN, "parameters": {"seed": 1}})),
    raw_inputs={
        "flights": RawInput(path="data/01_raw/flights.csv.zip", md5="f1" * 16, size=8),
        "weather": RawInput(path="data/01_raw/weather", md5=f"{'e4' * 16}.dir", size=9),
    },
    model_sha256="30" * 32,
    probe_sha256="94" * 32,
    judge_sha256="70" * 32,
    files={"evaluation.json": "e7" * 32, "changes.patch": "c4" * 32},
)
NAME = "flight_delay"


def written(record: Provenance = RECORD) -> dict[str, Any]:
    """Write a record; return what a JSON parser makes of it."""
    content: dict[str, Any] = json.loads(statement.write(record, NAME))
    return content


def changed(path: str, value: Any = None) -> str:
    """Write the record with another value at a path; without a value, nothing stands there."""
    content = written()
    *way, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    place: Any = content
    for part in way:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    "update",
    [
        {},
        {"data": None},
        {"judge_sha256": None},
        {"raw_inputs": {}},
        {"files": {}},
        {"run": RUN.model_copy(update={"pipelines": [], "parameters": {}, "runtime_parameters": {}})},
    ],
    ids=lambda update: next(iter(update), "complete"),
)
def test_a_record_is_read_as_it_was_written(update: dict[str, Any]) -> None:
    """Whatever is in a record, or is not, is read again: missing values, texts that look like dates, deviations."""
    record = RECORD.model_copy(update=update)
    assert record == statement.read(statement.write(record, NAME))


def test_bytes_are_read_as_text_is() -> None:
    """What comes from a file need not be decoded."""
    assert RECORD == statement.read(statement.write(RECORD, NAME).encode())


def test_the_digest_of_the_parameters_can_be_checked() -> None:
    """The parameters that are read have the digest that stands beside them."""
    run = statement.read(statement.write(RECORD, NAME)).run
    assert run.parameters_sha256 == digest_of_parameters(run.parameters)


def test_equal_records_are_written_alike() -> None:
    """The order in which raw tables and files came together does not count."""
    turned = RECORD.model_copy(
        update={
            "raw_inputs": dict(reversed(RECORD.raw_inputs.items())),
            "files": dict(reversed(RECORD.files.items())),
        }
    )
    assert statement.write(RECORD, NAME) == statement.write(turned, NAME)


def test_changes_are_not_in_the_statement() -> None:
    """What the runs had changed lies beside the model, not in the statement; the digests of the changes stay."""
    secret = b"what was changed"
    run, data_run = (
        run.model_copy(update={"git": run.git.model_copy(update={"patch": secret})}) for run in reversed(RECORD.runs)
    )
    assert RECORD.data is not None
    data = RECORD.data.model_copy(update={"run": data_run})
    text = statement.write(RECORD.model_copy(update={"run": run, "data": data}), NAME)
    assert statement.write(RECORD, NAME) == text
    assert RUN.git.diff_sha256 in text


class TestShape:
    """What programs that know in-toto and SLSA find."""

    def test_is_a_statement(self) -> None:
        """The libraries of in-toto and SLSA accept statement and predicate, every field but the extension."""
        content = written()
        assert "mlLifecycle_details" in content["predicate"]
        read = json_format.ParseDict(content, statement_pb2.Statement())
        InToto.copy_from_pb(read).validate()
        predicate = {key: part for key, part in content["predicate"].items() if key != "mlLifecycle_details"}
        provenance = json_format.ParseDict(predicate, provenance_pb2.Provenance())
        assert (statement.BUILD_TYPE, "urn:ml-lifecycle:kedro") == (
            provenance.build_definition.build_type,
            provenance.run_details.builder.id,
        )
        assert RUN.started_at == provenance.run_details.metadata.started_on.ToJsonString().replace("Z", "+00:00")

    def test_says_what_it_is(self) -> None:
        """Type, type of the predicate and schema version are those that are documented."""
        content = written()
        assert ("https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1", 2) == (
            content["_type"],
            content["predicateType"],
            content["predicate"]["mlLifecycle_details"]["schema_version"],
        )

    def test_is_about_the_model(self) -> None:
        """The only subject is the model, by its SHA-256."""
        assert [{"name": NAME, "digest": {"sha256": RECORD.model_sha256}}] == written()["subject"]

    def test_names_what_the_model_was_made_of(self) -> None:
        """Commit, lock and each raw table, with digest and, where it has one, the path."""
        code, lock, flights, weather = written()["predicate"]["buildDefinition"]["resolvedDependencies"]
        commit = {"name": "code", "digest": {"gitCommit": "c0" * 20}, "annotations": {"dirty": True}}
        assert commit == code
        assert {"name": "requirements/run.txt", "digest": {"sha256": "1c" * 32}, "annotations": {}} == lock
        assert ("data/01_raw/flights.csv.zip", {"md5": "f1" * 16}) == (flights["uri"], flights["digest"])
        assert ("weather", {"size": 9}) == (weather["name"], weather["annotations"])

    def test_names_what_was_chosen(self) -> None:
        """Environment, pipelines and parameters, those of the command line apart."""
        chosen = written()["predicate"]["buildDefinition"]["externalParameters"]
        assert {
            "environment": "base",
            "pipelines": ["data_engineering", "training"],
            "parameters": PARAMETERS,
            "runtime_parameters": RUN.runtime_parameters,
        } == chosen

    def test_names_what_was_made_beside_the_model(self) -> None:
        """Each file with its digest."""
        made = written()["predicate"]["runDetails"]["byproducts"]
        assert RECORD.files == {file["name"]: file["digest"]["sha256"] for file in made}

    def test_has_no_empty_address(self) -> None:
        """SLSA wants an address or none, not null."""
        assert '"uri": null' not in statement.write(RECORD, NAME)


class TestRefusal:
    """A statement that is not one, or not whole."""

    @pytest.mark.parametrize(
        ("path", "value", "where"),
        [
            ("mood", "good", "mood"),
            ("predicate/mood", "good", "predicate.mood"),
            ("predicate/mlLifecycle_details/git/mood", "good", "predicate.mlLifecycle_details.git.mood"),
            ("predicate/buildDefinition/externalParameters/mood", "good", "externalParameters.mood"),
            ("_type", None, "_type"),
            ("_type", "https://in-toto.io/Statement/v0.1", "_type"),
            ("predicateType", None, "predicateType"),
            ("predicate/buildDefinition/buildType", None, "predicate.buildDefinition.buildType"),
            ("predicate/mlLifecycle_details/schema_version", None, "predicate.mlLifecycle_details.schema_version"),
            ("predicateType", "https://slsa.dev/provenance/v0.2", "predicateType"),
            ("predicate/buildDefinition/buildType", "urn:other", "predicate.buildDefinition.buildType"),
            ("predicate/mlLifecycle_details/schema_version", 3, "predicate.mlLifecycle_details.schema_version"),
            ("subject", [], "subject"),
            ("subject/0/digest/md5", "0" * 32, "subject.0.digest.md5"),
            ("subject/0/digest/sha256", None, "'sha256' is missing"),
            ("predicate/runDetails/metadata/startedOn", None, "predicate.runDetails.metadata.startedOn"),
            ("predicate/mlLifecycle_details/probe_sha256", None, "predicate.mlLifecycle_details.probe_sha256"),
            ("predicate/mlLifecycle_details/data/run", None, "predicate.mlLifecycle_details.data.run"),
            ("predicate/mlLifecycle_details/data", "yesterday", "predicate.mlLifecycle_details.data"),
            ("predicate/mlLifecycle_details/git/dirty", [], "predicate.mlLifecycle_details.git.dirty"),
            ("predicate/buildDefinition/externalParameters/parameters", "all", "externalParameters.parameters"),
            ("predicate/buildDefinition/resolvedDependencies/0", None, "'code' is missing"),
            ("predicate/buildDefinition/resolvedDependencies/1", None, "'requirements/run.txt' is missing"),
            ("predicate/buildDefinition/resolvedDependencies/2/uri", None, "path"),
            ("predicate/buildDefinition/resolvedDependencies/2/annotations/size", None, "'size' is missing"),
            ("predicate/buildDefinition/resolvedDependencies/2/digest", {"sha256": "0"}, "'md5' is missing"),
            ("predicate/buildDefinition/resolvedDependencies/2/annotations/size", "large", "size"),
        ],
    )
    def test_names_where(self, path: str, value: Any, where: str) -> None:
        """What is unknown, missing or of the wrong kind is named, in one line that says what can be read."""
        with pytest.raises(ProvenanceError) as caught:
            statement.read(changed(path, value))
        message = caught.value.message
        assert message.startswith("The record of the model's origin cannot be read: ")
        assert where in message
        assert message.endswith("Known are records of the schema versions 1 and 2 (docs/reference/provenance.md).")
        assert "\n" not in message

    @pytest.mark.parametrize(
        ("path", "told"),
        [
            ("resolvedDependencies/0/digest/gitCommit", f"code stands there twice, as {'ff' * 20} and as {'c0' * 20}"),
            (
                "resolvedDependencies/1/digest/sha256",
                f"requirements/run.txt stands there twice, as {'ff' * 20} and as {'1c' * 32}",
            ),
        ],
    )
    def test_two_that_disagree(self, path: str, told: str) -> None:
        """What stands there twice, for others and for us, must be the same."""
        with pytest.raises(ProvenanceError, match=told):
            statement.read(changed(f"predicate/buildDefinition/{path}", "ff" * 20))

    @pytest.mark.parametrize(
        ("path", "position"), [("buildDefinition/resolvedDependencies", 0), ("runDetails/byproducts", 1)]
    )
    def test_two_of_one_name(self, path: str, position: int) -> None:
        """A second commit, table or file of the same name is refused, be it before or after the first."""
        part, resources = path.split("/")
        for first in (True, False):
            content = written()
            listed = content["predicate"][part][resources]
            second = copy.deepcopy(listed[position])
            second["digest"] = dict.fromkeys(second["digest"], "ff" * 20)
            listed.insert(0 if first else len(listed), second)
            with pytest.raises(ProvenanceError, match=rf"{second['name']}.*one stands there twice"):
                statement.read(json.dumps(content))

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', "{}", b"\xff", '{"schema_version": 3}'])
    def test_what_is_no_statement(self, text: str | bytes) -> None:
        """Other JSON, or none, is refused in one line."""
        with pytest.raises(ProvenanceError, match=r"^The record of the model's origin cannot be read: [^\n]+$"):
            statement.read(text)

    def test_keeps_its_cause(self) -> None:
        """Who looks for a bug finds what pydantic said."""
        with pytest.raises(ProvenanceError) as caught:
            statement.read("{}")
        assert caught.value.__cause__ is not None

    @pytest.mark.parametrize("table", ["code", "requirements/run.txt"])
    def test_is_not_written(self, table: str) -> None:
        """A record that could not be read again is not written: here a raw table takes the name of something else."""
        record = RECORD.model_copy(update={"raw_inputs": {table: RECORD.raw_inputs["flights"]}})
        with pytest.raises(ProvenanceError, match=rf"{table}.*one stands there twice"):
            statement.write(record, NAME)


class TestOldRecord:
    """A record as this project wrote it when it was no statement yet."""

    def test_is_read(self) -> None:
        """All that it tells is read."""
        content = json.loads(OLD.read_text(encoding="utf-8"))
        record = statement.read(OLD.read_bytes())
        told = record.model_dump(mode="json", exclude_unset=True)
        assert content == {"schema_version": 1, **told}
        assert record.run.parameters_sha256 == digest_of_parameters(record.run.parameters)

    def test_names_its_gaps(self) -> None:
        """What it does not tell is named, so that nobody takes it for a whole one."""
        assert [
            "the run that made the data",
            "the rows it was judged on",
            "the digest of evaluation.json",
            "the digest of data_report.json",
            "the digest of probe_set.parquet",
        ] == statement.read(OLD.read_bytes()).gaps()

    def test_can_be_written_as_a_statement(self) -> None:
        """Its content survives the new form, gaps included."""
        record = statement.read(OLD.read_bytes())
        assert record == statement.read(statement.write(record, NAME))

    @pytest.mark.parametrize(
        ("damage", "where"),
        [
            (lambda record: record.pop("model_sha256"), "model_sha256"),
            (lambda record: record["run"]["git"].pop("commit"), "run.git.commit"),
            (lambda record: record.update(mood="good"), "mood"),
            (lambda record: record["raw_inputs"]["flights"].update(size="large"), "raw_inputs.flights.size"),
        ],
        ids=["model", "commit", "unknown", "size"],
    )
    def test_is_refused_if_it_is_damaged(self, damage: Callable[[dict[str, Any]], Any], where: str) -> None:
        """It is validated as well."""
        content = json.loads(OLD.read_text(encoding="utf-8"))
        damage(content)
        with pytest.raises(ProvenanceError, match=f"cannot be read: {where}: "):
            statement.read(json.dumps(content))


def test_a_package_beside_the_lock_is_a_gap() -> None:
    """Deviations of both runs pass through the statement and are told."""
    gaps = statement.read(statement.write(RECORD, NAME)).gaps()
    assert "where numpy 2.5.0 comes from, which is not in the lock" in gaps
