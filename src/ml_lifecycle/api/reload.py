"""Takes what the attendant fetched into service: verified once more, loaded, warmed, and then swapped without a gap."""

import asyncio
from concurrent.futures import Executor

from ml_lifecycle.api import json_log
from ml_lifecycle.api.batcher import Batcher
from ml_lifecycle.api.measurements import Measurements
from ml_lifecycle.api.model_cache import CacheError, Current, ModelCache, Status
from ml_lifecycle.api.model_facts import facts_of, mlflow_version
from ml_lifecycle.api.records import Records
from ml_lifecycle.api.served_model import ServedModel
from ml_lifecycle.api.settings import Settings
from ml_lifecycle.api.slot import Serving, Slot
from ml_lifecycle.errors import LifecycleError

LOOK_SECONDS = 0.2
#: Rows of the trial before a model answers anybody, alone and together.
WARM_UP_ROWS = (1, 2, 100)


class Reload:
    """Watches the cache in one serving process."""

    def __init__(self, settings: Settings, slot: Slot, measurements: Measurements, executor: Executor) -> None:
        self._settings, self._slot, self._measurements, self._executor = settings, slot, measurements, executor
        self._cache = ModelCache(settings.cache, settings.model, settings.alias)
        self._stamp = self._cache.stamp()
        self._tried: Current | None = None
        self._counted = 0
        self.status = Status()
        self.current: Current | None = None

    async def watch(self) -> None:
        """Look at the cache, again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._cache.changed(self._stamp):
                try:
                    await self.look()
                except Exception as error:  # noqa: BLE001 - the model that answers goes on, and the next look may do
                    json_log.write("error", "the cache cannot be read", reason=f"{type(error).__name__}: {error}")

    async def look(self) -> None:
        """Take what is current into service, if it is another version and verified."""
        self._stamp = self._cache.stamp()
        self.status = self._cache.read_status()
        self._tell_status()
        try:
            current = self._cache.find_current()
        except CacheError as error:
            self._explain(error.message)
            return
        if current != self._tried:
            self._tried = current
            await self._take(current)

    async def _take(self, current: Current) -> None:
        loop = asyncio.get_running_loop()
        try:
            model = await loop.run_in_executor(None, self._load, current)
        except LifecycleError as error:
            self._measurements.refused(1)
            self._explain(error.message)
            json_log.write("error", "a model is refused", version=current.version, reason=error.message)
            return
        self._slot.put(Serving(model, Batcher(model, self._executor, self._settings.max_waiting_rows)))
        self._measurements.model(model.name, model.version, model.model.digest)
        self.current = current
        json_log.write("info", "a model answers", name=model.name, version=model.version, digest=model.model.digest)

    def _load(self, current: Current) -> ServedModel:
        """Verify, load and try a model.

        Raises:
            LifecycleError: it is not what was registered and signed, or it does not answer.
        """
        loaded = self._cache.load_verified(current, self._settings.keys)
        records = Records(loaded.model.roles, self._settings.max_rows)
        facts = facts_of(current, loaded, records)
        served = ServedModel(current.name, current.version, loaded.model, records, facts, mlflow_version(loaded))
        try:
            served.warm_up(WARM_UP_ROWS)
        except Exception as error:
            raise LifecycleError(f"{current} does not answer its own example: {error}.") from error
        return served

    def _explain(self, reason: str) -> None:
        if self._slot.model is None:
            self._slot.reason = f"{reason} {self.status.error or ''}".strip()

    def _tell_status(self) -> None:
        self._measurements.refused(self.status.refused_total - self._counted)
        self._counted = self.status.refused_total
        self._measurements.log_state(self.status.log.waiting_bytes, failing=self.status.log.error is not None)
