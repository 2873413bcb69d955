"""The record of a model's origin: what is known about its runs, its data and what came out."""

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

if TYPE_CHECKING:  # whoever reads a record needs no tables
    import pandas as pd

#: Files beside the model that the record names, all under its signature.
EVALUATION, DATA_REPORT, PROBE_SET = "evaluation.json", "data_report.json", "probe_set.parquet"
#: What the run that trained, and the one that made the data, had changed beyond their commits.
CHANGES, DATA_CHANGES = "changes.patch", "data_changes.patch"


#: Bytes that stand in JSON as base64.
InBase64 = Annotated[
    bytes,
    BeforeValidator(lambda value: base64.b64decode(value, validate=True) if isinstance(value, str) else value),
    PlainSerializer(lambda value: base64.b64encode(value).decode(), when_used="json-unless-none"),
]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GitState(_Record):
    """A commit and the difference of the working tree to it.

    ``patch`` holds the difference in full, unless there is none, it is large or it holds a secret.
    """

    commit: str
    dirty: bool
    diff_sha256: str
    patch: InBase64 | None = None


class RawInput(_Record):
    """A raw input as DVC recorded it: path in the project, MD5 and size in bytes."""

    path: str
    md5: str
    size: int


class Environment(_Record):
    """Where a run happened.

    ``lock_sha256`` is of requirements/run.txt; ``deviations`` maps packages to the version that is installed instead of
    the lock's; ``image`` is the digest of the container image, if it ran in one.
    """

    python: str
    platform: str
    lock_sha256: str
    deviations: dict[str, str] = {}
    image: str | None = None


class RunRecord(_Record):
    """What is known about a run when it starts.

    ``parameters`` are the effective ones, ``runtime_parameters`` those of them that no committed file gave, but the
    command line or conf/local.
    """

    started_at: str
    kedro_environment: str
    pipelines: list[str]
    git: GitState
    environment: Environment
    parameters: dict[str, Any]
    parameters_sha256: str
    runtime_parameters: dict[str, Any] = {}

    @property
    def origin(self) -> tuple[str, ...]:
        """Code, lock and parameters: two runs of one origin do the same."""
        return self.git.commit, self.git.diff_sha256, self.environment.lock_sha256, self.parameters_sha256


class DataRecord(_Record):
    """The run that made the table to learn from, kept beside the table."""

    model_input_sha256: str
    run: RunRecord


class TrainingRecord(_Record):
    """The run that made a model and the one that made its data, kept beside the model until it is registered."""

    model_sha256: str
    run: RunRecord
    data: DataRecord


class Provenance(_Record):
    """Everything a model was made of, and the digests of what came out.

    ``run`` trained the model, ``data`` made its table; ``judge_sha256`` is of the keys, times and labels it was judged
    on, ``files`` maps the files beside the model to their SHA-256. A record of the first schema lacks these three.
    """

    run: RunRecord
    data: DataRecord | None = None
    raw_inputs: dict[str, RawInput]
    model_sha256: str
    probe_sha256: str
    judge_sha256: str | None = None
    files: dict[str, str] = {}

    @property
    def runs(self) -> tuple[RunRecord, ...]:
        """The runs that made the data and the model."""
        return (self.run,) if self.data is None else (self.data.run, self.run)

    @property
    def is_dirty(self) -> bool:
        """Whether one of the runs had changes that its commit does not hold."""
        return any(run.git.dirty for run in self.runs)

    def gaps(self) -> list[str]:
        """Name what the record does not tell, or tells of an environment that no lock describes."""
        return list(self._gaps())

    def _gaps(self) -> Iterator[str]:
        if self.data is None:
            yield "the run that made the data"
        if self.judge_sha256 is None:
            yield "the rows it was judged on"
        for name in (EVALUATION, DATA_REPORT, PROBE_SET):
            if name not in self.files:
                yield f"the digest of {name}"
        if not self.raw_inputs:
            yield "the raw inputs"
        deviations = {name: version for run in self.runs for name, version in run.environment.deviations.items()}
        for package, version in deviations.items():
            yield f"where {package} {version} comes from, which is not in the lock"

    def tags(self) -> dict[str, str]:
        """The record as flat tags, to search for."""
        return {
            **run_tags(self.run),
            **raw_input_tags(self.raw_inputs),
            "git.dirty": str(self.is_dirty).lower(),
            "model_sha256": self.model_sha256,
            "probe_sha256": self.probe_sha256,
        }


def run_tags(run: RunRecord) -> dict[str, str]:
    """Flatten what is known at the start of a run."""
    return {
        "git.commit": run.git.commit,
        "git.dirty": str(run.git.dirty).lower(),
        "git.diff_sha256": run.git.diff_sha256,
        "lock_sha256": run.environment.lock_sha256,
        "parameters_sha256": run.parameters_sha256,
        "kedro.environment": run.kedro_environment,
        "kedro.pipelines": "+".join(run.pipelines),
        "python": run.environment.python,
        "platform": run.environment.platform,
        **({} if run.environment.image is None else {"image": run.environment.image}),
    }


def raw_input_tags(raw_inputs: dict[str, RawInput]) -> dict[str, str]:
    """Flatten the hashes of the raw inputs."""
    return {f"dvc.{name}": raw.md5 for name, raw in raw_inputs.items()}


def digest_of_parameters(parameters: dict[str, Any]) -> str:
    """SHA-256 of the parameters as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(parameters, sort_keys=True, default=str).encode()).hexdigest()


def digest_of_probe(probe: "pd.DataFrame") -> str:
    """SHA-256 of the probe's probabilities as little-endian float32."""
    return hashlib.sha256(probe["probability"].to_numpy(np.dtype("<f4")).tobytes()).hexdigest()


def digest_of_table(table: "pd.DataFrame") -> str:
    """SHA-256 of names, types and values of a table's columns, as an Arrow stream.

    Neither the index nor how the table lies in memory counts: in how many pieces, or with which bits of NaN.
    """
    import pyarrow as pa

    plain = {str(name): table[name].where(table[name].notna()) for name in table.select_dtypes("float")}
    arrow = pa.Table.from_pandas(table.assign(**plain), preserve_index=False).replace_schema_metadata(None)
    arrow = arrow.combine_chunks().take(pa.array(np.arange(len(table)))).combine_chunks()  # also parts of a piece
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, arrow.schema) as stream:
        stream.write_table(arrow)
    return hashlib.sha256(sink.getvalue()).hexdigest()


def digest_of_labels(rows: "pd.DataFrame") -> str:
    """SHA-256 of keys, times and labels of rows, in the order of the keys."""
    return digest_of_table(rows[["row_key", "row_time", "row_target"]].sort_values("row_key"))
