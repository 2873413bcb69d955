"""The record of a model's origin, complete or not at all."""

import hashlib
import json
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GitState(_Record):
    """A commit and the difference of the working tree to it."""

    commit: str
    dirty: bool
    diff_sha256: str


class RawInput(_Record):
    """A raw input as DVC recorded it: path in the project, MD5 and size in bytes."""

    path: str
    md5: str
    size: int


class Environment(_Record):
    """Where a run happened; ``lock_sha256`` is of requirements/run.txt."""

    python: str
    platform: str
    lock_sha256: str


class RunRecord(_Record):
    """What is known about a run when it starts."""

    started_at: str
    kedro_environment: str
    pipelines: list[str]
    git: GitState
    environment: Environment
    parameters: dict[str, Any]
    parameters_sha256: str


class TrainingRecord(_Record):
    """The run that made a model, kept beside the model until it is registered."""

    model_sha256: str
    run: RunRecord


class Provenance(_Record):
    """Everything a model was made of, and the digests of what came out."""

    schema_version: Literal[1] = 1
    run: RunRecord
    raw_inputs: dict[str, RawInput]
    model_sha256: str
    probe_sha256: str

    def tags(self) -> dict[str, str]:
        """The record as flat tags, to search for."""
        return {
            **run_tags(self.run),
            **raw_input_tags(self.raw_inputs),
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
    }


def raw_input_tags(raw_inputs: dict[str, RawInput]) -> dict[str, str]:
    """Flatten the hashes of the raw inputs."""
    return {f"dvc.{name}": raw.md5 for name, raw in raw_inputs.items()}


def digest_of_parameters(parameters: dict[str, Any]) -> str:
    """SHA-256 of the parameters as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(parameters, sort_keys=True, default=str).encode()).hexdigest()


def digest_of_probe(probe: pd.DataFrame) -> str:
    """SHA-256 of the probe's probabilities as little-endian float32."""
    return hashlib.sha256(probe["probability"].to_numpy(np.dtype("<f4")).tobytes()).hexdigest()
