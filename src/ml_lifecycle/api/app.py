"""The application: its routes, and what begins and ends with it."""

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ml_lifecycle import __version__
from ml_lifecycle.api import json_log, open_files, open_inference, openapi, page
from ml_lifecycle.api.attendant import Attendant, Orders
from ml_lifecycle.api.authentication import Authentication
from ml_lifecycle.api.connection import LOOK_SECONDS, WAITING
from ml_lifecycle.api.guard import FAILED, Guard, refusal
from ml_lifecycle.api.log_segments import LogError, Segments
from ml_lifecycle.api.measurements import CONTENT_TYPE, Measurements
from ml_lifecycle.api.mlflow_protocol import Invocations
from ml_lifecycle.api.open_inference import Infer
from ml_lifecycle.api.predict import Predict
from ml_lifecycle.api.problems import Problem, not_ready
from ml_lifecycle.api.reload import LOOK_SECONDS as RELOAD_LOOK_SECONDS
from ml_lifecycle.api.reload import Reload
from ml_lifecycle.api.scoring import Scoring
from ml_lifecycle.api.server import GIVEN_UP
from ml_lifecycle.api.settings import Settings, read_settings
from ml_lifecycle.api.slot import Serving, Slot
from ml_lifecycle.api.upkeep import attempt, repeat

Endpoint = Callable[..., Any]

LOG_FOLDER = "log"
#: Seconds between two looks at the prediction log: whether a segment is to be closed, and what the disk is to confirm.
LOG_LOOK_SECONDS = 1.0
#: Until the look at idle connections begins anew, if it ever ends.
AGAIN_SECONDS = 1.0
#: What is wrong if a duty fails, for the log.
CACHE_TROUBLE = "the cache cannot be read"
LOG_TROUBLE = "the prediction log is at risk"
IDLE_TROUBLE = "idle connections are not closed"
#: What strangers are told of a service; its own words may hold paths and addresses.
ANSWERS, NO_MODEL = "a verified model answers", "no verified model yet"


class Application(FastAPI):
    """FastAPI, with the guard before all of it.

    As a middleware it would stand behind some of FastAPI's own, which cost a prediction as much as its features do.
    """

    guard: Guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or begin and end."""
        if scope["type"] == "http":
            await self.guard(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that passed the guard and has no shorter way."""
        await super().__call__(scope, receive, send)


class Service:
    """One application with all that it works with."""

    def __init__(self, settings: Settings | None = None) -> None:
        """Put it together; what runs beside the requests begins with the application.

        Raises:
            ConfigurationError: a setting is missing, or cannot be used.
        """
        self.settings = settings or read_settings()
        self.measurements = Measurements()
        self.slot = Slot()
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="model")
        self.reload = Reload(self.settings, self.slot, self.measurements, self.executor)
        self.segments = Segments(
            self.settings.cache / LOG_FOLDER,
            f"w{os.getpid()}_{secrets.token_hex(4)}",
            self.settings.log_max_bytes,
            self.settings.log_segment_bytes,
            self.settings.log_seconds,
        )
        self.attendant = Attendant(self._orders())
        refuse = self.settings.log_when_full == "refuse"
        on = self.settings.authentication == "on"
        self.authentication = Authentication(self.settings.key_hashes) if on else None
        self.scoring = Scoring(self.slot, self.segments, self.measurements, refuse_when_full=refuse)
        self.app = self._make_app()

    def _orders(self) -> Orders:
        settings = self.settings
        return Orders(
            model=settings.model,
            alias=settings.alias,
            tracking_uri=settings.tracking_uri,
            cache=settings.cache,
            keys_folder=settings.keys_folder,
            prediction_log=settings.prediction_log,
            log=settings.cache / LOG_FOLDER,
            reload_seconds=settings.reload_seconds,
        )

    def _make_app(self) -> FastAPI:
        app = Application(
            title="ml-lifecycle", version=__version__, docs_url=None, redoc_url=None, lifespan=self._lifespan
        )
        predictions = self._predictions()
        app.router.routes.extend(predictions)
        _add_readings(app, self)
        page.add_routes(app, self.facts)
        for kind in (Problem, HTTPException, Exception):
            app.add_exception_handler(kind, _refused)
        app.openapi = lambda: openapi.document(app, self.slot.model)  # type: ignore[method-assign]
        app.guard = Guard(
            app.answer,
            shorter={route.path: route.endpoint for route in predictions if not route.param_convertors},
            authentication=self.authentication,
            measurements=self.measurements,
            routes=[route.path for route in app.routes if isinstance(route, Route)],
            max_body_bytes=self.settings.max_body_bytes,
            log_requests=self.settings.log_requests,
        )
        return app

    def _predictions(self) -> list[Route]:
        """The paths that predict: ASGI applications of their own, past what FastAPI does for each request."""
        infer = Infer(self.scoring, self.settings)
        return [
            Route("/predict", Predict(self.scoring, self.settings), methods=["POST"]),
            Route("/invocations", Invocations(self.scoring, self.settings), methods=["POST"]),
            Route("/v2/models/{name}/infer", infer, methods=["POST"]),
            Route("/v2/models/{name}/versions/{version}/infer", infer, methods=["POST"]),
        ]

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        await attempt(self.reload.look, CACHE_TROUBLE)
        self.attendant.start()
        duties = [
            repeat(self.reload.look, RELOAD_LOOK_SECONDS, CACHE_TROUBLE),
            repeat(self._keep_log, LOG_LOOK_SECONDS, LOG_TROUBLE),
            repeat(self._keep_connections, AGAIN_SECONDS, IDLE_TROUBLE),
        ]
        tasks = [asyncio.create_task(duty) for duty in duties]
        if self.settings.start_seconds is not None:
            tasks.append(asyncio.create_task(self._end_without_model(self.settings.start_seconds)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.executor.shutdown()
            with contextlib.suppress(LogError):
                self.segments.close()
            await asyncio.to_thread(self.attendant.stop)

    async def _keep_log(self) -> None:
        """Close a segment that is due, and let the disk confirm what is there."""
        try:
            self.segments.rotate_if_due()
        finally:  # the one does not stop the other
            await asyncio.to_thread(self.segments.sync)

    async def _keep_connections(self) -> None:
        WAITING.most = open_files.allowed_connections(self.settings.max_connections)
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            WAITING.close_older(self.settings.idle_seconds)

    async def _end_without_model(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.slot.model is None:
            await asyncio.sleep(0.1)
            if time.monotonic() > deadline:
                reason = f"no model within {seconds:g} s (API_START_SECONDS): {self.slot.reason}"
                json_log.write("error", "the service ends", reason=reason)
                GIVEN_UP.set()
                signal.raise_signal(signal.SIGTERM)
                return

    def facts(self) -> dict[str, Any] | None:
        """What /model tells, if there is a model."""
        model = self.slot.model
        return None if model is None else {**model.facts, "source": self._source()}

    def _source(self) -> str | None:
        """Whether the registry stands behind what answers, or only the cache."""
        status = self.reload.status
        if self.reload.current is None:
            return None
        return "registry" if status.asked_at is not None and status.error is None else "cache"

    def knows(self, request: Request) -> bool:
        """Whether a caller of a path that is open has shown a key; without authentication everybody is known."""
        if self.authentication is None:
            return True
        shown = (request.headers.get(name, "").encode("latin-1") for name in ("authorization", "x-api-key"))
        try:
            self.authentication.refuse_strangers(*shown)
        except Problem:
            return False
        return True

    def reason(self, request: Request) -> str:
        """Why a model answers or not, as far as a caller may know."""
        if self.knows(request):
            return self.slot.reason
        return NO_MODEL if self.slot.model is None else ANSWERS

    def readiness(self, request: Request) -> dict[str, Any]:
        """What /ready tells: strangers hear how the service is doing, and no paths or addresses."""
        model, status = self.slot.model, self.reload.status
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
            "refused": [refused.model_dump(mode="json") for refused in self.reload.refused],
            "prediction_log": status.log.model_dump(mode="json"),
        }


async def _refused(request: Request, error: Exception) -> Response:
    """All refusals in one form, also of a path or a method that is not there, and of what failed."""
    if isinstance(error, Problem):
        problem = error
    elif isinstance(error, HTTPException):
        detail = f"{request.method} {request.url.path} is not offered: {error.detail}. GET /openapi.json lists what is."
        given = [(name.encode(), value.encode()) for name, value in (error.headers or {}).items()]
        problem = Problem(HTTPStatus(error.status_code), detail, [], given)
    else:
        problem = FAILED
    content, headers = refusal(problem, request.scope)
    answer = Response(content, problem.status)
    answer.raw_headers = headers
    return answer


def _get_or_head(app: FastAPI, path: str, **described: Any) -> Callable[[Endpoint], Endpoint]:
    """Add a path that load balancers ask, some of them by HEAD; the description has GET alone."""

    def add(endpoint: Endpoint) -> Endpoint:
        app.add_api_route(path, endpoint, methods=["GET", "HEAD"], include_in_schema=False)  # the first one answers
        app.add_api_route(path, endpoint, methods=["GET"], **described)
        return endpoint

    return add


def _add_readings(app: FastAPI, service: Service) -> None:  # noqa: C901 - one small function for each path
    """Add the paths that are read only."""

    def take() -> Serving:
        return service.slot.take()

    @_get_or_head(app, "/health", tags=["operation"], summary="Whether the process answers")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @_get_or_head(app, "/ready", tags=["operation"], summary="Whether a verified model answers, and why not")
    async def ready(request: Request) -> JSONResponse:
        found = service.readiness(request)
        return JSONResponse(found, HTTPStatus.OK if found["ready"] else HTTPStatus.SERVICE_UNAVAILABLE)

    @app.get("/metrics", tags=["operation"], response_class=PlainTextResponse, summary="Measurements for Prometheus")
    async def metrics() -> Response:
        return Response(service.measurements.page(), media_type=CONTENT_TYPE)

    @app.get("/latency", tags=["operation"], summary="How fast this process answered in the last minutes")
    async def latency() -> dict[str, Any]:
        return service.measurements.latency()

    @app.get("/model", tags=["model"], summary="The model that answers: origin, quality, card, what it is asked with")
    async def model() -> dict[str, Any]:
        found = service.facts()
        if found is None:
            raise not_ready(service.slot.reason)
        return found

    @_get_or_head(app, "/ping", tags=["MLflow"], response_class=PlainTextResponse, summary="200 if a model answers")
    async def ping() -> Response:
        return PlainTextResponse("\n", HTTPStatus.OK if service.slot.model else HTTPStatus.SERVICE_UNAVAILABLE)

    @app.get("/version", tags=["MLflow"], response_class=PlainTextResponse, summary="The MLflow whose protocol this is")
    async def version() -> Response:
        return Response(take().model.mlflow_version, media_type="text/plain")

    @app.get("/v2", tags=["Open Inference"], summary="The server")
    async def server() -> dict[str, Any]:
        return open_inference.server_metadata()

    @_get_or_head(app, "/v2/health/live", tags=["Open Inference"], summary="Whether the process answers")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @_get_or_head(app, "/v2/health/ready", tags=["Open Inference"], summary="Whether a model answers")
    async def server_ready(request: Request) -> dict[str, bool]:
        if service.slot.model is None:
            raise not_ready(service.reason(request))
        return {"ready": True}

    @app.get("/v2/models/{name}", tags=["Open Inference"], summary="The model's tensors")  # noqa: FAST003 - of the path
    @app.get("/v2/models/{name}/versions/{version}", tags=["Open Inference"], summary="The model's tensors")
    async def metadata(request: Request) -> dict[str, Any]:
        serving = take()
        open_inference.refuse_another(serving, request.path_params)
        return open_inference.model_metadata(serving.model)

    @app.get("/v2/models/{name}/ready", tags=["Open Inference"], summary="Whether the model answers")  # noqa: FAST003 - of the path
    @app.get("/v2/models/{name}/versions/{version}/ready", tags=["Open Inference"], summary="Whether it answers")
    async def model_ready(request: Request) -> dict[str, Any]:
        serving = take()
        open_inference.refuse_another(serving, request.path_params)
        return {"name": serving.model.name, "ready": True}
