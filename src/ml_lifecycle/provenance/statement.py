"""The record as others read it: an in-toto Statement with SLSA provenance.

in-toto Statement v1: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
SLSA provenance v1: https://slsa.dev/spec/v1.0/provenance
What SLSA has no field for stands in its extension field ``mlLifecycle_details``.
"""

import json
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from ml_lifecycle.errors import ProvenanceError
from ml_lifecycle.provenance.record import (
    DataRecord,
    Environment,
    GitState,
    Provenance,
    RawInput,
    RunRecord,
)

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "urn:ml-lifecycle:kedro-run:v1"
SCHEMA_VERSION: Final = 2
CODE, LOCK = "code", "requirements/run.txt"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Subject(_Part):
    """What the statement is about: the model by its SHA-256."""

    name: str
    digest: dict[Literal["sha256"], str]


class Resource(_Part):
    """Something a model was made of, or that was made beside it, with its digest."""

    name: str
    uri: str | None = None
    digest: dict[Literal["sha256", "md5", "gitCommit"], str]
    annotations: dict[str, Any] = {}

    @model_serializer(mode="wrap")
    def _without_empty_uri(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """SLSA wants an address or none, not null."""
        return {key: value for key, value in write(self).items() if key != "uri" or value is not None}


class ExternalParameters(_Part):
    """What the person who ran it could choose."""

    environment: str
    pipelines: list[str]
    parameters: dict[str, Any]
    runtime_parameters: dict[str, Any]


class BuildDefinition(_Part):
    """How to make it again, and of what: the commit, the lock and the raw tables."""

    build_type: Literal["urn:ml-lifecycle:kedro-run:v1"] = Field(alias="buildType")
    external_parameters: ExternalParameters = Field(alias="externalParameters")
    resolved_dependencies: list[Resource] = Field(alias="resolvedDependencies")


class Builder(_Part):
    """What ran it."""

    id: str
    version: dict[str, str]


class Metadata(_Part):
    """When it ran."""

    started_on: str = Field(alias="startedOn")


class RunDetails(_Part):
    """Who made it, when, and what was made beside the model."""

    builder: Builder
    metadata: Metadata
    byproducts: list[Resource]


class Details(_Part):
    """What SLSA has no field for."""

    schema_version: Literal[2]
    parameters_sha256: str
    git: GitState
    environment: Environment
    data: DataRecord | None
    probe_sha256: str
    judge_sha256: str | None


class Predicate(_Part):
    """SLSA provenance."""

    build_definition: BuildDefinition = Field(alias="buildDefinition")
    run_details: RunDetails = Field(alias="runDetails")
    details: Details = Field(alias="mlLifecycle_details")


class Statement(_Part):
    """An in-toto Statement about one model."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: list[Subject] = Field(min_length=1, max_length=1)
    predicate_type: Literal["https://slsa.dev/provenance/v1"] = Field(alias="predicateType")
    predicate: Predicate


def _without_patch(run: RunRecord) -> RunRecord:
    """The patch is a file of its own, beside the model."""
    return run.model_copy(update={"git": run.git.model_copy(update={"patch": None})})


def of(provenance: Provenance, name: str) -> Statement:
    """Put a record into the form of a statement about the model ``name``."""
    run = _without_patch(provenance.run)
    code = Resource(name=CODE, digest={"gitCommit": run.git.commit}, annotations={"dirty": run.git.dirty})
    lock = Resource(name=LOCK, digest={"sha256": run.environment.lock_sha256})
    raw = [
        Resource(name=table, uri=record.path, digest={"md5": record.md5}, annotations={"size": record.size})
        for table, record in sorted(provenance.raw_inputs.items())
    ]
    made = [Resource(name=file, digest={"sha256": digest}) for file, digest in sorted(provenance.files.items())]
    data = provenance.data
    return Statement(
        type=STATEMENT_TYPE,
        subject=[Subject(name=name, digest={"sha256": provenance.model_sha256})],
        predicate_type=PREDICATE_TYPE,
        predicate=Predicate(
            build_definition=BuildDefinition(
                build_type=BUILD_TYPE,
                external_parameters=ExternalParameters(
                    environment=run.kedro_environment,
                    pipelines=run.pipelines,
                    parameters=run.parameters,
                    runtime_parameters=run.runtime_parameters,
                ),
                resolved_dependencies=[code, lock, *raw],
            ),
            run_details=RunDetails(
                builder=Builder(
                    id="urn:ml-lifecycle:kedro",
                    version={"python": run.environment.python, "platform": run.environment.platform},
                ),
                metadata=Metadata(started_on=run.started_at),
                byproducts=made,
            ),
            details=Details(
                schema_version=SCHEMA_VERSION,
                parameters_sha256=run.parameters_sha256,
                git=run.git,
                environment=run.environment,
                data=data and data.model_copy(update={"run": _without_patch(data.run)}),
                probe_sha256=provenance.probe_sha256,
                judge_sha256=provenance.judge_sha256,
            ),
        ),
    )


def write(provenance: Provenance, name: str) -> str:
    """Write a record as JSON; the statement is validated on the way."""
    text = of(provenance, name).model_dump_json(by_alias=True, indent=2)
    read(text)
    return text


def _by_name(resources: list[Resource]) -> dict[str, Resource]:
    named = {resource.name: resource for resource in resources}
    if len(named) != len(resources):
        raise ValueError(f"of {', '.join(resource.name for resource in resources)}, one stands there twice")
    return named


def _record_of(statement: Statement) -> Provenance:
    definition, details = statement.predicate.build_definition, statement.predicate.details
    chosen = definition.external_parameters
    dependencies = _by_name(definition.resolved_dependencies)
    told_twice = {
        CODE: (dependencies[CODE].digest.get("gitCommit"), details.git.commit),
        LOCK: (dependencies[LOCK].digest.get("sha256"), details.environment.lock_sha256),
    }
    for name, (one, other) in told_twice.items():
        if one != other:
            raise ValueError(f"{name} stands there twice, as {one} and as {other}")
    return Provenance(
        run=RunRecord(
            started_at=statement.predicate.run_details.metadata.started_on,
            kedro_environment=chosen.environment,
            pipelines=chosen.pipelines,
            git=details.git,
            environment=details.environment,
            parameters=chosen.parameters,
            parameters_sha256=details.parameters_sha256,
            runtime_parameters=chosen.runtime_parameters,
        ),
        data=details.data,
        raw_inputs={
            name: RawInput.model_validate({"path": raw.uri, "md5": raw.digest["md5"], "size": raw.annotations["size"]})
            for name, raw in dependencies.items()
            if name not in told_twice
        },
        model_sha256=statement.subject[0].digest["sha256"],
        probe_sha256=details.probe_sha256,
        judge_sha256=details.judge_sha256,
        files={
            name: made.digest["sha256"] for name, made in _by_name(statement.predicate.run_details.byproducts).items()
        },
    )


def read(text: str | bytes) -> Provenance:
    """Read a record, also one of the first schema, which was no statement yet.

    Raises:
        ProvenanceError: it is none.
    """
    try:
        content = json.loads(text)
        if isinstance(content, dict) and content.get("schema_version") == 1:
            return Provenance.model_validate({key: part for key, part in content.items() if key != "schema_version"})
        return _record_of(Statement.model_validate(content))
    except (KeyError, ValueError) as error:  # pydantic's ValidationError is a ValueError
        where = ".".join(map(str, error.errors()[0]["loc"])) if isinstance(error, ValidationError) else ""
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        if isinstance(error, KeyError):
            said = f"{said} is missing"
        raise ProvenanceError(
            f"The record of the model's origin cannot be read: {where or 'it'}: {said}. Known are records of "
            f"the schema versions 1 and 2 (docs/reference/provenance.md)."
        ) from error
