"""Versions of a registered model: made, found, loaded.

A version is created in one call with all its tags, after everything it refers to is stored:
a version that exists is complete.
"""

import contextlib
import logging
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import mlflow.onnx
import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.types import Schema, TensorSpec

from ml_lifecycle.errors import RegistryError
from ml_lifecycle.model_folder import PROVENANCE, ModelFolder
from ml_lifecycle.model_version import Candidate, ModelVersion
from ml_lifecycle.onnx_model import OUTPUT, OnnxModel
from ml_lifecycle.roles import TableRoles
from ml_lifecycle.signing.keys import Keys
from ml_lifecycle.signing.signature import ChangedError, MissingKeyError, SignatureError

logger = logging.getLogger(__name__)

MODEL_DIGEST = "model_sha256"
#: What was decided about a version as it was registered.
DECISION = "promotion"
UNDECIDED = "undecided"
#: All that predicting needs; the versions come from the lock.
REQUIREMENTS = ("mlflow", "numpy", "onnx", "onnxruntime", "pandas")
EXAMPLE_ROWS = 3
#: Of a version's description in MLflow's database (``SqlModelVersion.description``).
DESCRIPTION_LENGTH = 5000
#: Of a digest, to name a version.
SHORTEST_DIGEST = 8
#: Addresses of what MLflow calls a logged model: the folder behind a version.
LOGGED = "models:/"
_NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True)
class Version:
    """What the registry says of one version of a model."""

    name: str
    number: str
    run_id: str
    created: datetime
    tags: dict[str, str] = field(repr=False)
    aliases: tuple[str, ...] = ()
    model_id: str | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the model, as registered; empty if somebody removed the tag."""
        return self.tags.get(MODEL_DIGEST, "")

    @property
    def decision(self) -> str:
        """What was decided as it was registered."""
        return self.tags.get(DECISION, UNDECIDED)

    @property
    def title(self) -> str:
        """Name and number, as a sentence begins with them."""
        return f"Version {self.number} of '{self.name}'"

    def __str__(self) -> str:
        """Name and number, within a sentence."""
        return f"version {self.number} of '{self.name}'"


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
    made = registered_by(name, run.info.run_id) if run is not None else []
    return next((version.number for version in made if version.digest == digest), None)


def _of(found: MlflowVersion, aliases: dict[str, str]) -> Version:
    number, source = str(found.version), found.source or ""
    return Version(
        name=found.name,
        number=number,
        run_id=found.run_id or "",
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        tags=dict(found.tags),
        aliases=tuple(sorted(alias for alias, target in aliases.items() if target == number)),
        model_id=source.removeprefix(LOGGED) if source.startswith(LOGGED) else None,
    )


def aliases(name: str) -> dict[str, str]:
    """Map the aliases of a model to versions; empty if there is no such model."""
    try:
        registered = mlflow.MlflowClient().get_registered_model(name)
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            return {}
        raise
    return {alias: str(version) for alias, version in registered.aliases.items()}


def set_alias(name: str, alias: str, number: str) -> None:
    """Let an alias point to a version; ``alias_history`` is who may ask for it."""
    mlflow.MlflowClient().set_registered_model_alias(name, alias, number)


def set_tag(version: Version, key: str, value: str) -> None:
    """Set a tag of a version."""
    mlflow.MlflowClient().set_model_version_tag(version.name, version.number, key, value)


def every(name: str) -> list[Version]:
    """List all versions of a model, the newest first."""
    named = aliases(name)
    client, found, token = mlflow.MlflowClient(), [], None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        found += [_of(version, named) for version in page]
        token = page.token
        if not token:
            return sorted(found, key=lambda version: -int(version.number))


def registered_by(name: str, run_id: str) -> list[Version]:
    """List the versions of a model that a run registered."""
    return [version for version in every(name) if version.run_id == run_id]


def at_alias(name: str, alias: str) -> Version | None:
    """Find the version behind an alias."""
    try:
        found = mlflow.MlflowClient().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in _NOT_THERE:
            return None
        raise
    return _of(found, aliases(name))


def find(name: str, reference: str) -> Version:
    """Find the version that somebody names: by number, by alias (``@production``) or by digest.

    Args:
        name: of the model.
        reference: such as ``3``, ``@production``, or the first 8 or more digits of a SHA-256.

    Raises:
        RegistryError: there is none, or the digest fits several.
    """
    there = every(name)
    if reference.startswith("@"):
        found = [version for version in there if reference[1:] in version.aliases]
    else:
        found = [version for version in there if version.number == reference]
    if not found and len(reference) >= SHORTEST_DIGEST:
        found = [version for version in there if version.digest.startswith(reference)]
    if len(found) == 1:
        return found[0]
    if found:
        numbers = ", ".join(version.number for version in found)
        raise RegistryError(
            f"'{reference}' names several versions of '{name}', made with the same bytes: {numbers}. Name one by its "
            "number."
        )
    known = ", ".join(_described(version) for version in there) or "none"
    raise RegistryError(
        f"The model '{name}' has no version '{reference}'. Name one by its number, by an alias such as @production, or "
        f"by the first {SHORTEST_DIGEST} or more digits of its digest. There are: {known}."
    )


def _described(version: Version) -> str:
    named = "".join(f" @{alias}" for alias in version.aliases)
    return f"{version.number}{named} ({version.digest[:SHORTEST_DIGEST]})"


@contextlib.contextmanager
def folder(version: Version) -> Iterator[ModelFolder]:
    """A temporary local copy of what the artifact store keeps of a version.

    Raises:
        RegistryError: it is not there.
    """
    with tempfile.TemporaryDirectory() as temporary:
        try:
            path = mlflow.artifacts.download_artifacts(_place(version), dst_path=temporary)
        except (MlflowException, OSError) as error:
            if isinstance(error, MlflowException) and error.error_code not in (*_NOT_THERE, "INTERNAL_ERROR"):
                raise
            said = " ".join(str(error).split())
            raise RegistryError(f"The artifacts of {version} cannot be fetched: {said}") from error
        stored = ModelFolder(Path(path))
        yield stored if (stored.path / PROVENANCE).exists() else ModelFolder(stored.path, _earlier_record(version))


def _earlier_record(version: Version) -> bytes | None:
    """The record in the run of a version that was made before records lay in its folder, under its signature."""
    try:
        return bytes(mlflow.artifacts.load_text(f"runs:/{version.run_id}/{PROVENANCE}").encode())
    except (MlflowException, OSError):
        return None


def _place(version: Version) -> str:
    """Where its folder lies; by the version's own address MLflow would add a file to the copy."""
    return mlflow.MlflowClient().get_model_version_download_uri(version.name, version.number)


def store_file(version: Version, file: Path) -> None:
    """Put a file into the folder of a version, such as a new signature."""
    if version.model_id is None:
        raise RegistryError(f"{version} was registered without a logged model, so nothing can be stored with it.")
    mlflow.MlflowClient().log_model_artifact(version.model_id, str(file))


def load(name: str, alias: str, keys: Keys) -> ModelVersion:
    """Load the version behind an alias, after its signature and its digest are verified.

    Raises:
        RegistryError: there is no such alias, or the stored file is not the registered one.
        SignatureError: it is not signed, not by a trusted key, or it was changed since.
    """
    version = at_alias(name, alias)
    if version is None:
        raise RegistryError(
            f"No version of the model '{name}' carries the alias '@{alias}', so nothing can be scored. "
            "`kedro model list` shows what was decided about the versions there are; train one (`kedro run`), or give "
            "one the alias (`kedro model promote`); "
            f"aliases in use: {', '.join(aliases(name)) or 'none'}."
        )
    with folder(version) as stored:
        return ModelVersion(name, version.number, verified(version, stored, keys))


def verified(version: Version, stored: ModelFolder, keys: Keys) -> OnnxModel:
    """Give out the model of a folder only if signature and digest are right. Nothing but ONNX is ever loaded.

    Raises:
        RegistryError: the file is missing, or is not the registered one.
        SignatureError: the signature does not hold.
    """
    try:
        stored.verify(keys)
    except MissingKeyError:
        raise
    except ChangedError as error:
        raise ChangedError(
            f"{version.title} is refused: {error}. Nothing was scored. Restore the artifacts, or point the alias "
            f"elsewhere; `kedro model audit {version.number}` tells what else is wrong."
        ) from error
    except SignatureError as error:
        raise SignatureError(
            f"{version.title} is refused: {error}. Nothing was scored. Whoever trusts it signs it: "
            f"`kedro model sign {version.number}`; `kedro model audit {version.number}` tells what else is wrong."
        ) from error
    return refuse_another(version, stored)


def refuse_another(version: Version, stored: ModelFolder) -> OnnxModel:
    """Give out the model of a folder only if it is the registered one.

    Raises:
        RegistryError: it is another, or missing.
    """
    model = stored.model()
    if model.digest != version.digest:
        raise RegistryError(
            f"{version.title} is damaged: registered with SHA-256 {version.digest}, "
            f"stored is {model.digest}. Nothing was scored. Restore the artifact, or point the alias elsewhere."
        )
    return model
