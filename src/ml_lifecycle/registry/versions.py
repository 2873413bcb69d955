"""Versions of a registered model: found, named, loaded."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from ml_lifecycle.errors import RegistryError
from ml_lifecycle.model_folder import PROVENANCE, ModelFolder
from ml_lifecycle.model_version import ModelVersion
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.signing.keys import Keys
from ml_lifecycle.signing.signature import ChangedError, MissingKeyError, SignatureError

MODEL_DIGEST = "model_sha256"
#: What was decided about a version as it was registered.
DECISION = "promotion"
UNDECIDED = "undecided"
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
