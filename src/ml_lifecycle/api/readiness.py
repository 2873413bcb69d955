"""How the service is doing, and what it serves, as far as a caller may know."""

from typing import Any

from starlette.requests import Request

from ml_lifecycle.api.authentication import Authentication
from ml_lifecycle.api.problems import Problem
from ml_lifecycle.api.reload import Reload
from ml_lifecycle.api.slot import Slot

#: What strangers are told of a service; its own words may hold paths and addresses.
ANSWERS, NO_MODEL = "a verified model answers", "no verified model yet"


class Readiness:
    """Tells of the model that answers, the registry and the prediction log."""

    def __init__(self, slot: Slot, reload: Reload, authentication: Authentication | None) -> None:
        self._slot, self._reload, self._authentication = slot, reload, authentication

    def facts(self) -> dict[str, Any] | None:
        """What /model tells, if there is a model."""
        model = self._slot.model
        return None if model is None else {**model.facts, "source": self._source()}

    def _source(self) -> str | None:
        """Whether the registry stands behind what answers, or only the cache."""
        status = self._reload.status
        if self._reload.current is None:
            return None
        return "registry" if status.asked_at is not None and status.error is None else "cache"

    def knows(self, request: Request) -> bool:
        """Whether a caller of a path that is open has shown a key; without authentication everybody is known."""
        if self._authentication is None:
            return True
        shown = (request.headers.get(name, "").encode("latin-1") for name in ("authorization", "x-api-key"))
        try:
            self._authentication.refuse_strangers(*shown)
        except Problem:
            return False
        return True

    def reason(self, request: Request) -> str:
        """Why a model answers or not, as far as a caller may know."""
        if self.knows(request):
            return self._slot.reason
        return NO_MODEL if self._slot.model is None else ANSWERS

    def of(self, request: Request) -> dict[str, Any]:
        """What /ready tells: strangers hear how the service is doing, and no paths or addresses."""
        model, status = self._slot.model, self._reload.status
        told = {
            "ready": model is not None,
            "reason": self.reason(request),
            "model": model and {"name": model.name, "version": model.version, "digest": model.model.digest},
            "source": self._source(),
        }
        if not self.knows(request):
            registry = {"well": status.asked_at is not None and status.error is None}
            return {**told, "registry": registry, "prediction_log": {"well": status.log.error is None}}
        return {
            **told,
            "registry": {"asked_at": status.asked_at and status.asked_at.isoformat(), "error": status.error},
            "refused": [refused.model_dump(mode="json") for refused in self._reload.refused],
            "prediction_log": status.log.model_dump(mode="json"),
        }
