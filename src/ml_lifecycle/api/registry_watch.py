"""Watching an alias: the version behind it is fetched, verified, tried and placed where serving processes find it."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from ml_lifecycle.api.attendant_log import plain, say
from ml_lifecycle.api.load import WARM_UP_ROWS, load
from ml_lifecycle.api.model_cache import Current, Loaded, ModelCache, Refused, Status, VersionFacts
from ml_lifecycle.errors import LifecycleError, RegistryError
from ml_lifecycle.model_folder import ModelFolder
from ml_lifecycle.registry import address, versions
from ml_lifecycle.registry.versions import Version
from ml_lifecycle.signing.keys import Keys
from ml_lifecycle.signing.signature import SignatureError

#: Seconds until a refused version is looked at again: somebody may have signed or restored it.
PATIENCE = 30.0
SQLITE = "sqlite:///"


@dataclass
class RegistryWatch:
    """What one attendant knows of one alias.

    ``asked_at`` is when the registry last answered, ``error`` why it or a version cannot be had, ``refused`` the
    version behind the alias if it is not what was signed and registered or cannot serve, ``refused_total`` how often
    that was found.
    """

    model: str
    alias: str
    keys: Keys
    cache: ModelCache
    patience: float = PATIENCE
    asked_at: datetime | None = None
    error: str | None = None
    refused: Refused | None = None
    refused_total: int = 0
    _again_at: float = 0.0
    _intact: str | None = field(default=None, repr=False)

    def go_on(self, status: Status) -> None:
        """Go on from what an earlier attendant of this cache found."""
        self.asked_at, self.refused_total = status.asked_at, status.refused_total
        self.refused = next(iter(status.refused), None)

    def look(self) -> None:
        """Ask the registry once, and fetch what is new. Whatever fails, what serves goes on serving."""
        try:
            error = self._look()
        except Exception as raised:  # noqa: BLE001 - of MLflow, of a database, of a store, of a disk
            error = plain(raised)
        if error != self.error and error is not None:
            say("warning", "no version can be had", error=error)
        elif error != self.error:
            say("info", "the registry answers again")
        self.error = error

    def _look(self) -> str | None:
        if missing := _missing_database(address.in_use()):
            return missing
        version = versions.at_alias(self.model, self.alias)
        self.asked_at = datetime.now(UTC)
        if version is None:
            self.refused = None
            return (
                f"No version of the model '{self.model}' carries the alias '@{self.alias}'. `kedro model list` shows "
                "the versions there are; give one the alias with `kedro model promote`."
            )
        if self.refused and (self.refused.version, self.refused.digest) != (version.number, version.digest):
            self.refused = None
        if self.refused and time.monotonic() < self._again_at:
            return None
        if self._serves(version):
            self.refused = None
        else:
            self._fetch(version)
        return None

    def _serves(self, version: Version) -> bool:
        """Whether it is what serving processes find, and still is as it was verified and tried."""
        current = self.cache.read_current()
        if current is None or (current.version, current.digest) != (version.number, version.digest):
            return False
        fingerprint = self.cache.fingerprint(current)
        if fingerprint != self._intact:
            try:
                load(current, self.cache.load_verified(current, self.keys), max(WARM_UP_ROWS))
            except LifecycleError as error:
                say("warning", "copy refused", version=version.number, reason=error.message)
                return False
            self._intact = fingerprint
        return True

    def _fetch(self, version: Version) -> None:
        begun = time.monotonic()
        try:
            self.keys.public()  # without any, there is no use in fetching
        except SignatureError as error:
            self._refuse(version, error.message)
            return
        with versions.folder(version) as stored:
            try:
                facts = self._tried(version, stored)
            except LifecycleError as error:
                self._refuse(version, error.message)
                return
            current = self.cache.place(facts, stored.path)
        self.refused = None
        self._intact = self.cache.fingerprint(current)
        took = round(time.monotonic() - begun, 3)
        say("info", "version placed", version=version.number, digest=version.digest, seconds=took)

    def _tried(self, version: Version, stored: ModelFolder) -> VersionFacts:
        """Verify what was fetched, and have it answer as it would where it serves.

        Raises:
            RegistryError: it is not the registered one, or what the registry says of it cannot be used.
            SignatureError: it is not what was signed.
            LoadError: it does not answer.
        """
        model = versions.verified(version, stored, self.keys)
        facts = _facts(version, self.alias, stored)
        current = Current(**facts.model_dump(), folder="", fetched_at=datetime.now(UTC))
        load(current, Loaded(stored, model, stored.verify(self.keys)), max(WARM_UP_ROWS))
        return facts

    def _refuse(self, version: Version, reason: str) -> None:
        self._again_at = time.monotonic() + self.patience
        if self.refused is None or self.refused.reason != reason:
            self.refused_total += 1
            say("error", "version refused", version=version.number, digest=version.digest, reason=reason)
            at = datetime.now(UTC)
            self.refused = Refused(version=version.number, digest=version.digest, reason=reason, at=at)


def _facts(version: Version, alias: str, stored: ModelFolder) -> VersionFacts:
    record = stored.earlier_record
    try:
        return VersionFacts(
            name=version.name,
            version=version.number,
            digest=version.digest,
            alias=alias,
            run_id=version.run_id,
            created=version.created,
            aliases=version.aliases,
            earlier_record=None if record is None else record.decode(),
        )
    except ValidationError as error:
        raise RegistryError(f"What the registry says of {version} cannot be used: {error}") from error


def _missing_database(uri: str) -> str | None:
    """MLflow would make an empty database where somebody took one away."""
    if not uri.startswith(SQLITE):
        return None
    path = Path(uri.removeprefix(SQLITE).partition("?")[0])
    return None if path.is_file() else f"The registry's database {path} does not exist. Restore it."
