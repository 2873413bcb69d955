"""The model registry: the only module that speaks to MLflow's.

A version is created in one call with all its tags, after everything it refers to is stored:
a version that exists is complete.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import mlflow.onnx
import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.types import Schema, TensorSpec

from ml_lifecycle.errors import RegistryError
from ml_lifecycle.model_version import Candidate, ModelVersion
from ml_lifecycle.onnx_model import OUTPUT, OnnxModel
from ml_lifecycle.roles import TableRoles

logger = logging.getLogger(__name__)

STAGING, PRODUCTION = "staging", "production"
DECISION = "promotion"
UNDECIDED = "undecided"
PROVENANCE_FILE = "provenance.json"
#: All that predicting needs; the versions come from the lock.
REQUIREMENTS = ("mlflow", "numpy", "onnx", "onnxruntime", "pandas")
EXAMPLE_ROWS = 3
#: Of a version's description in MLflow's database (``SqlModelVersion.description``).
DESCRIPTION_LENGTH = 5000
#: A model must beat each baseline on both: in ranking and in the probabilities themselves.
DECISIVE_METRICS = ("roc_auc", "log_loss")


def signature(roles: TableRoles) -> ModelSignature:
    """Declare one vector per feature (float32 or text) and one vector of probabilities.

    Tensors rather than columns: MLflow 3.17 hands pandas 3's text columns to ONNX as they are,
    which onnxruntime refuses; tensors it converts first.
    """
    numbers = [TensorSpec(np.dtype("float32"), (-1,), name) for name in roles.numeric]
    texts = [TensorSpec(np.dtype("O"), (-1,), name) for name in roles.categorical]
    return ModelSignature(Schema([*numbers, *texts]), Schema([TensorSpec(np.dtype("float32"), (-1,), OUTPUT)]))


def pinned(lock: Path) -> list[str]:
    """Read the versions of ``REQUIREMENTS`` from a lock made by ``make lock``."""
    found = dict(re.findall(r"^([a-z0-9-]+)==([^\s;\\]+)", lock.read_text(encoding="utf-8"), re.MULTILINE))
    return [f"{name}=={found[name]}" for name in REQUIREMENTS]


def _example(candidate: Candidate) -> pd.DataFrame:
    return candidate.probe.loc[: EXAMPLE_ROWS - 1, candidate.model.roles.columns]


def summary(model_card: str) -> str:
    """Cut a model card down to its first section, and to what MLflow takes as a description."""
    return model_card.partition("\n## ")[0].strip()[:DESCRIPTION_LENGTH]


def register(name: str, candidate: Candidate, lock: Path) -> str:
    """Store a candidate in the active run and create one version of the model ``name``.

    A run that goes on after a fault may have created it already: then there is nothing to do.

    Returns the number of the version.
    """
    if version := _made_by_this_run(name, candidate.model.digest):
        return version
    mlflow.log_text(candidate.provenance.model_dump_json(indent=2), PROVENANCE_FILE)
    stored = mlflow.onnx.log_model(
        candidate.model.proto,
        name="model",
        signature=signature(candidate.model.roles),
        input_example=_example(candidate),
        pip_requirements=pinned(lock),
        onnx_execution_providers=["CPUExecutionProvider"],
        onnx_session_options={"intra_op_num_threads": 1, "inter_op_num_threads": 1},  # as in OnnxModel
        save_as_external_data=False,  # one file, whose bytes are the digest
        metadata={"model_sha256": candidate.model.digest},
    )
    client = mlflow.MlflowClient()
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    created = client.create_model_version(
        name,
        stored.model_uri,
        run_id=stored.run_id,
        tags=candidate.provenance.tags(),
        description=summary(candidate.model_card),
        model_id=stored.model_id,
    )
    return str(created.version)


def _made_by_this_run(name: str, digest: str) -> str | None:
    run = mlflow.active_run()
    made = registered_by(name, run.info.run_id) if run is not None else []
    return next((registration.version for registration in made if registration.digest == digest), None)


def _at_alias(name: str, alias: str) -> MlflowVersion | None:
    try:
        return mlflow.MlflowClient().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def unbeaten(evaluation: dict[str, Any]) -> list[str]:
    """Name the baselines that the model does not beat beyond doubt, with the metric and its interval."""
    return [
        f"{baseline} in {metric} (better by {figure['value']}, interval {figure['low']} to {figure['high']})"
        for baseline, figures in evaluation["improvements"].items()
        for metric in DECISIVE_METRICS
        if not (figure := figures[metric])["low"] or figure["low"] <= 0
    ]


def promote_first(name: str, version: str, evaluation: dict[str, Any]) -> str:
    """Give the first version that beats its baselines both aliases; say why, or why not.

    With a version in production nothing is promoted: a person compares and decides.
    """
    client = mlflow.MlflowClient()
    incumbent = _at_alias(name, PRODUCTION)
    if incumbent is not None and str(incumbent.version) == version:
        return incumbent.tags.get(
            DECISION, UNDECIDED
        )  # the run goes on after a fault: it was decided before, or by hand
    lost = unbeaten(evaluation)
    if incumbent is not None:
        decision = f"not promoted: version {incumbent.version} is in production; compare them, then promote by hand"
    elif lost:
        decision = f"not promoted: does not beat {'; '.join(lost)}"
    else:
        decision = "promoted to staging and production: the first version, and better than every baseline"
    client.set_model_version_tag(name, version, DECISION, decision)
    if incumbent is None and not lost:
        for alias in (STAGING, PRODUCTION):
            client.set_registered_model_alias(name, alias, version)
    return decision


def load(name: str, alias: str) -> ModelVersion:
    """Load the version behind an alias, and check its bytes against the recorded digest.

    Raises:
        RegistryError: there is no such alias, or the stored file is not the registered one.
    """
    found = _at_alias(name, alias)
    if found is None:
        raise RegistryError(
            f"No version of the model '{name}' carries the alias '@{alias}', so nothing can be scored. "
            "Train one (`kedro run`), or give a version the alias; "
            f"aliases in use: {', '.join(aliases(name)) or 'none'}."
        )
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{name}/{found.version}"))
    model = OnnxModel((folder / "model.onnx").read_bytes())
    if model.digest != found.tags["model_sha256"]:
        raise RegistryError(
            f"Version {found.version} of '{name}' is damaged: registered with SHA-256 {found.tags['model_sha256']}, "
            f"stored is {model.digest}. Nothing was scored. Restore the artifact, or point '@{alias}' elsewhere."
        )
    return ModelVersion(name, str(found.version), model)


def aliases(name: str) -> dict[str, str]:
    """Map the aliases of a model to versions; empty if there is no such model."""
    try:
        return dict(mlflow.MlflowClient().get_registered_model(name).aliases)
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            return {}
        raise


@dataclass(frozen=True)
class Registration:
    """What a run registered: version, digest and what was decided about it."""

    version: str
    digest: str
    decision: str


def registered_by(name: str, run_id: str) -> list[Registration]:
    """List the versions of a model that a run registered."""
    found = mlflow.MlflowClient().search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    return [Registration(str(v.version), v.tags["model_sha256"], v.tags.get(DECISION, UNDECIDED)) for v in found]
