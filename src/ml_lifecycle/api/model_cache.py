"""Fetched models on this machine's disk: one process places them, every serving process reads them.

``models/<version>-<digest>/`` holds a version as the registry stores it, ``current.json`` says which one serves,
``status.json`` what the registry last said. Both files are replaced as a whole, so a reader never sees half of one.
"""

import contextlib
import filecmp
import hashlib
import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ml_lifecycle.api import whole_file
from ml_lifecycle.errors import RegistryError
from ml_lifecycle.model_folder import MODEL, ModelFolder
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.signing.keys import Keys
from ml_lifecycle.signing.signature import ChangedError, MissingKeyError, SignatureError

CURRENT, STATUS, LOCK, MODELS, INCOMING = "current.json", "status.json", "attendant.lock", "models", "incoming"
#: Seconds for which a model stays after another took its place: a process may just be reading it.
KEPT_SECONDS = 600.0


class CacheError(RegistryError):
    """No model can be had from the cache."""


class _Record(BaseModel):
    # Fields that a later release adds must not stop an earlier one from serving.
    model_config = ConfigDict(frozen=True, extra="ignore")


class VersionFacts(_Record):
    """What the registry says of a version.

    ``alias`` is the one it was fetched by, ``aliases`` are all it had then. ``earlier_record`` is that of a version
    made before records lay in its folder.
    """

    name: str = Field(min_length=1)
    version: str = Field(pattern=r"^[0-9]{1,18}$")
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    alias: str
    run_id: str
    created: AwareDatetime
    aliases: tuple[str, ...] = ()
    earlier_record: str | None = None

    def __str__(self) -> str:
        """Name and number, within a sentence."""
        return f"version {self.version} of '{self.name}'"


class Current(VersionFacts):
    """The version that serves; ``folder`` is relative to that of the cache."""

    folder: str
    fetched_at: AwareDatetime


class Refused(_Record):
    """A version that the alias points to and that does not serve."""

    version: str
    digest: str
    reason: str
    at: AwareDatetime


class LogStatus(_Record):
    """What became of the prediction log since this cache was made; ``waiting_bytes`` are on this disk only."""

    shipped_rows: int = 0
    waiting_bytes: int = 0
    error: str | None = None
    damaged: int = 0


class Status(_Record):
    """What the attendant last found: when the registry answered, and what it cannot do.

    ``refused_total`` counts since this cache was made: a new attendant goes on counting.
    """

    asked_at: AwareDatetime | None = None
    error: str | None = None
    refused: tuple[Refused, ...] = ()
    refused_total: int = 0
    log: LogStatus = LogStatus()


class Stamp(NamedTuple):
    """Changes when one of the two files is replaced; cheap enough to be asked for many times a second."""

    current: tuple[int, ...] | None
    status: tuple[int, ...] | None


class Loaded(NamedTuple):
    """A model that was verified; ``signed_by`` is the file with the key that fits."""

    folder: ModelFolder
    model: OnnxModel
    signed_by: Path


@dataclass(frozen=True)
class ModelCache:
    """The folder of a service.

    ``model`` and ``alias``, if they are given, are the only ones it gives out: settings may have changed since the last
    fetch, and the registry may be away.
    """

    folder: Path
    model: str | None = None
    alias: str | None = None

    @property
    def lock(self) -> Path:
        """What the one attendant of this folder holds."""
        return self.folder / LOCK

    @property
    def incoming(self) -> Path:
        """Where models are that are not placed yet."""
        return self.folder / INCOMING

    def stamp(self) -> Stamp:
        """Two look-ups of the file system; compare it with an earlier one."""
        return Stamp(whole_file.stamp(self.folder / CURRENT), whole_file.stamp(self.folder / STATUS))

    def changed(self, since: Stamp) -> bool:
        """Whether something else is to be read since a stamp was taken."""
        return self.stamp() != since

    # Read, in every process

    def read_current(self) -> Current | None:
        """What serves; None if nothing can, and ``find_current`` tells why."""
        try:
            return self.find_current()
        except CacheError:
            return None

    def find_current(self) -> Current:
        """What serves.

        Raises:
            CacheError: nothing was fetched yet, or what is there is damaged or not of this service.
        """
        path = self.folder / CURRENT
        try:
            current = Current.model_validate_json(whole_file.read(path))
        except FileNotFoundError:
            raise CacheError(f"No model was fetched yet: {path} does not exist.") from None
        except ValidationError as error:
            raise CacheError(f"{path} is not what this service writes ({_told(error)}), so it is ignored.") from None
        except OSError as error:
            raise CacheError(f"{path} cannot be read ({error.strerror}), so it is ignored.") from None
        self._refuse_foreign(current, path)
        return current

    def _refuse_foreign(self, current: Current, path: Path) -> None:
        found, wanted = (current.name, current.alias), (self.model or current.name, self.alias or current.alias)
        if found != wanted:
            raise CacheError(
                f"{path} tells of {current}, fetched by @{current.alias}; this service is for '{wanted[0]}' "
                f"@{wanted[1]}, so it is ignored."
            )
        self.folder_of(current)

    def folder_of(self, current: Current) -> Path:
        """The folder of a version, which need not be there.

        Raises:
            CacheError: it would be elsewhere, or there is a link on the way.
        """
        if current.folder != _folder(current):
            raise CacheError(
                f"{self.folder / CURRENT} names the folder {current.folder!r}; allowed is {_folder(current)!r} alone."
            )
        path = self.folder / current.folder
        if links := [str(part) for part in (path.parent, path) if part.is_symlink()]:
            raise CacheError(f"{', '.join(links)} is a link, and models are read from the cache alone.")
        return path

    def load_verified(self, current: Current, keys: Keys) -> Loaded:
        """Read a version's folder after its signature and its digest are verified.

        What is to be told of it later is to be read now: the folder goes when another version takes its place.

        Raises:
            CacheError: its folder is not there.
            RegistryError: a file is missing, or the model is not the registered one.
            SignatureError: it is not signed, not by a trusted key, or it was changed since.
        """
        path = self.folder_of(current)
        if not path.is_dir():
            raise CacheError(f"{path} does not exist. The attendant fetches it as soon as the registry answers.")
        earlier = current.earlier_record
        folder = ModelFolder(path, None if earlier is None else earlier.encode())
        return Loaded(folder, *_verified(current, folder, keys))

    def fingerprint(self, current: Current) -> str:
        """Of the names, sizes and times of a version's files: another one if somebody touched them."""
        told = hashlib.sha256()
        for path in sorted(self.folder_of(current).rglob("*")):
            found = path.lstat()
            told.update(f"{path} {found.st_mode} {found.st_ino} {found.st_size} {found.st_mtime_ns}\n".encode())
        return told.hexdigest()

    def read_status(self) -> Status:
        """What the attendant last found; nothing, if the file is missing or damaged."""
        try:
            return Status.model_validate_json(whole_file.read(self.folder / STATUS))
        except (OSError, ValidationError):
            return Status()

    # Write, in the attendant alone

    def prepare(self) -> None:
        """Make the folder, readable by its owner only, and empty the one for what is on its way.

        Raises:
            OSError: the disk refuses.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove(self.incoming)
        self.incoming.mkdir(mode=0o700, exist_ok=True)

    def place(self, facts: VersionFacts, source: Path) -> Current:
        """Copy the verified folder of a version and let it be the one that serves.

        Args:
            facts: of the registry.
            source: the folder, as it was fetched.

        Raises:
            CacheError: the folder of all models is a link.
            RegistryError: its model is not the registered one.
            OSError: the disk is full, or refuses.
        """
        before = self.read_current()
        path = self.folder / _folder(facts)
        self.incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if path.parent.is_symlink():
            raise CacheError(f"{path.parent} is a link, and models are kept in the cache alone. Remove it.")
        if path.is_symlink() or not _is_same(source, path):
            self._copy(facts, source, path)
        current = Current(**facts.model_dump(), folder=_folder(facts), fetched_at=datetime.now(UTC))
        for placed in (before, current):
            if placed is not None:
                _touch(self.folder / placed.folder)  # both stay for a while, whatever is tidied
        self._replace(CURRENT, current, durable=True)
        return current

    def _copy(self, facts: VersionFacts, source: Path, path: Path) -> None:
        with tempfile.TemporaryDirectory(dir=self.incoming, ignore_cleanup_errors=True) as temporary:
            copy = Path(temporary) / "model"
            shutil.copytree(source, copy, symlinks=True)
            for file in copy.rglob("*"):
                _settle(file)
            _settle(copy)
            if (digest := ModelFolder(copy).digest_of(MODEL)) != facts.digest:
                raise RegistryError(f"The copy of {facts} has SHA-256 {digest}, registered is {facts.digest}.")
            with contextlib.suppress(FileNotFoundError):
                path.rename(Path(temporary) / "damaged")  # a folder cannot be replaced in one step
            copy.rename(path)
            whole_file.sync(path.parent)

    def write_status(self, status: Status) -> None:
        """Tell every serving process what was found."""
        self._replace(STATUS, status, durable=False)

    def _replace(self, name: str, record: BaseModel, *, durable: bool) -> None:
        self.incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = json.dumps(record.model_dump(mode="json"), indent=1).encode()
        whole_file.replace(self.folder / name, content, self.incoming, durable=durable)

    def tidy(self, kept_seconds: float = KEPT_SECONDS) -> list[str]:
        """Remove models other than the current one, unless they served a short time ago.

        Without a current one nothing is removed: what is there may be all there is.

        Returns:
            The names of the folders that are gone.
        """
        current = self.read_current()
        if current is None or not self.folder_of(current).is_dir():
            return []
        removed = []
        for path in sorted((self.folder / MODELS).iterdir()):
            if f"{MODELS}/{path.name}" != current.folder and time.time() - path.lstat().st_mtime > kept_seconds:
                self.incoming.mkdir(mode=0o700, exist_ok=True)
                away = Path(tempfile.mkdtemp(dir=self.incoming)) / path.name
                path.rename(away)  # at once, so that no reader finds half of it
                _remove(away.parent)
                removed.append(path.name)
        return removed


def _folder(facts: VersionFacts) -> str:
    return f"{MODELS}/{facts.version}-{facts.digest}"


def _verified(current: Current, folder: ModelFolder, keys: Keys) -> tuple[OnnxModel, Path]:
    remedy = "The attendant fetches it again as soon as the registry answers."
    try:
        key = folder.verify(keys)
        model = folder.model()
    except MissingKeyError:
        raise
    except SignatureError as error:
        kind = ChangedError if isinstance(error, ChangedError) else SignatureError
        raise kind(f"The copy of {current} in {folder.path} is refused: {error}. {remedy}") from error
    except OSError as error:  # removed or unreadable while it is read
        raise CacheError(f"The copy of {current} in {folder.path} cannot be read: {error}. {remedy}") from error
    if model.digest != current.digest:
        raise RegistryError(
            f"The copy of {current} in {folder.path} is damaged: registered with SHA-256 {current.digest}, stored is "
            f"{model.digest}. {remedy}"
        )
    return model, key


def _told(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])


def _is_same(source: Path, placed: Path) -> bool:
    """Whether a folder is there and holds, byte for byte, what is to be placed."""
    if not placed.is_dir():
        return False
    names = [{path.relative_to(folder) for path in folder.rglob("*")} for folder in (source, placed)]
    if names[0] != names[1] or any(path.is_symlink() for path in placed.rglob("*")):
        return False
    filecmp.clear_cache()
    pairs = [(source / name, placed / name) for name in names[0]]
    try:
        return all(
            one.is_dir() == other.is_dir() and (one.is_dir() or filecmp.cmp(one, other, shallow=False))
            for one, other in pairs
        )
    except OSError:  # unreadable
        return False


def _settle(path: Path) -> None:
    """Let a copied file be read-only, and on the disk before anything says that it is there."""
    if path.is_symlink():
        return  # verified folders hold none, and one that does is refused by who reads it
    if path.is_dir():
        path.chmod(0o700)
    else:
        path.chmod(0o400)
    whole_file.sync(path)


def _touch(path: Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(path)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)
