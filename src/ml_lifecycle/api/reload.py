"""Takes what the attendant fetched into service: verified once more, loaded, warmed, and then swapped without a gap."""

import asyncio
import contextlib
import gc
from concurrent.futures import Executor
from datetime import UTC, datetime

from ml_lifecycle.api import json_log
from ml_lifecycle.api.batcher import Batcher
from ml_lifecycle.api.load import load
from ml_lifecycle.api.measurements import Measurements
from ml_lifecycle.api.model_cache import CacheError, Current, ModelCache, Refused, Stamp, Status
from ml_lifecycle.api.reason import reason_of
from ml_lifecycle.api.served_model import ServedModel
from ml_lifecycle.api.settings import Settings
from ml_lifecycle.api.slot import Serving, Slot

LOOK_SECONDS = 0.2


class Reload:
    """Watches the cache in one serving process."""

    def __init__(self, settings: Settings, slot: Slot, measurements: Measurements, executor: Executor) -> None:
        self._settings, self._slot, self._measurements, self._executor = settings, slot, measurements, executor
        self._cache = ModelCache(settings.cache, settings.model, settings.alias)
        self._stamp: Stamp | None = None
        self._tried: Current | None = None
        self._refused: Refused | None = None
        self._counted = 0
        self._looking = asyncio.Lock()
        self.status = Status()
        self.current: Current | None = None

    @property
    def refused(self) -> list[Refused]:
        """The versions that do not serve: what the attendant refused, and what this process did."""
        told = list(self.status.refused)
        mine = self._refused
        if mine is None or (mine.version, mine.digest) in [(each.version, each.digest) for each in told]:
            return told
        return [*told, mine]

    async def look(self) -> None:
        """Look at the cache, if it has changed: take what is current into service, if it verifies and answers."""
        async with self._looking:
            if self._stamp is None or self._cache.changed(self._stamp):
                stamp = self._cache.stamp()
                await self._look()
                self._stamp = stamp  # a look that failed is no look

    async def catch_up(self) -> None:
        """Look now if no model answers here: another process of the service may have told callers that one does."""
        if self._slot.model is None:
            with contextlib.suppress(Exception):  # the looks that are due anyway tell of it
                await asyncio.shield(self.look())  # a caller who goes away ends no look

    async def _look(self) -> None:
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
        except Exception as error:  # noqa: BLE001 - of a signature, a disk, ONNX Runtime: the one before answers on
            self._refuse(current, reason_of(error))
            return
        self._slot.put(Serving(model, Batcher(model, self._executor, self._settings.max_waiting_rows)))
        self._measurements.model(model.name, model.version, model.model.digest)
        self.current, self._refused = current, None
        json_log.write("info", "a model answers", name=model.name, version=model.version, digest=model.model.digest)

    def _load(self, current: Current) -> ServedModel:
        """Verify, load and try a model.

        Raises:
            LifecycleError: it is not what was registered and signed, or it does not answer.
        """
        served = load(current, self._cache.load_verified(current, self._settings.keys), self._settings.max_rows)
        _set_apart()
        return served

    def _refuse(self, current: Current, reason: str) -> None:
        self._measurements.refused(1)
        at = datetime.now(UTC)
        self._refused = Refused(version=current.version, digest=current.digest, reason=reason, at=at)
        self._explain(reason)
        json_log.write("error", "a model is refused", version=current.version, digest=current.digest, reason=reason)

    def _explain(self, reason: str) -> None:
        if self._slot.model is None:
            self._slot.reason = f"{reason} {self.status.error or ''}".strip()

    def _tell_status(self) -> None:
        self._measurements.refused(self.status.refused_total - self._counted)
        self._counted = self.status.refused_total
        self._measurements.log_state(self.status.log.waiting_bytes, failing=self.status.log.error is not None)


def _set_apart() -> None:
    """Let the garbage collector leave alone what stays: to look through all of it holds up every request meanwhile."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
