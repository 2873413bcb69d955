"""Makes a version of a registered model.

In one call with all its tags, after everything it refers to is stored: a version that exists is complete.
"""

import logging
import re
from pathlib import Path
from typing import Any

import mlflow
import mlflow.onnx
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from ml_lifecycle.model_folder import ModelFolder
from ml_lifecycle.model_version import Candidate
from ml_lifecycle.onnx_model import OUTPUT
from ml_lifecycle.registry import versions
from ml_lifecycle.registry.versions import MODEL_DIGEST
from ml_lifecycle.roles import TableRoles
from ml_lifecycle.signing.keys import Keys
from ml_lifecycle.signing.signature import MissingKeyError

logger = logging.getLogger(__name__)

#: All that predicting needs; the versions come from the lock.
REQUIREMENTS = ("mlflow", "numpy", "onnx", "onnxruntime", "pandas")
EXAMPLE_ROWS = 3
#: Of a version's description in MLflow's database (``SqlModelVersion.description``).
DESCRIPTION_LENGTH = 5000


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


class _DescribedFlavor:
    """MLflow's ONNX flavour, with the record and the signature in the same folder, so that all is stored at once."""

    __name__ = "mlflow.onnx"

    def __init__(self, candidate: Candidate, name: str, keys: Keys) -> None:
        self._candidate, self._name, self._keys = candidate, name, keys

    def save_model(self, path: str, mlflow_model: Model, pip_requirements: list[str], **_: Any) -> None:
        """Write the folder that MLflow stores."""
        model = self._candidate.model
        mlflow.onnx.save_model(
            model.proto,
            path,
            mlflow_model=mlflow_model,
            signature=signature(model.roles),
            input_example=_example(self._candidate),
            pip_requirements=pip_requirements,
            onnx_execution_providers=["CPUExecutionProvider"],
            onnx_session_options={"intra_op_num_threads": 1, "inter_op_num_threads": 1},  # as in OnnxModel
            save_as_external_data=False,  # one file, whose bytes are the digest
            metadata={MODEL_DIGEST: model.digest},
        )
        folder = ModelFolder(Path(path))
        folder.describe(self._candidate, self._name)
        try:
            folder.sign(self._keys)
        except MissingKeyError as error:
            logger.warning("the model is registered without a signature, so it cannot score yet: %s", error)


def register(name: str, candidate: Candidate, lock: Path, keys: Keys) -> str:
    """Store a candidate in the active run and create one version of the model ``name``.

    A run that goes on after a fault may have created it already: then there is nothing to do.

    Returns:
        The number of the version.
    """
    if version := _made_by_this_run(name, candidate.model.digest):
        return version
    stored = Model.log(
        artifact_path=None,
        name="model",
        flavor=_DescribedFlavor(candidate, name, keys),
        pip_requirements=pinned(lock),
        validate_serving_input=False,  # it would predict once, and write a file after the signature
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
    made = versions.registered_by(name, run.info.run_id) if run is not None else []
    return next((version.number for version in made if version.digest == digest), None)
