"""The application: its routes, and what begins and ends with it."""

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ml_lifecycle import __version__
from ml_lifecycle.api import json_log, open_files, openapi, page
from ml_lifecycle.api.attendant import Attendant, Orders
from ml_lifecycle.api.authentication import Authentication
from ml_lifecycle.api.connection import LOOK_SECONDS, WAITING
from ml_lifecycle.api.guard import FAILED, Guard, refusal
from ml_lifecycle.api.log_segments import LogError, Segments
from ml_lifecycle.api.measurements import Measurements
from ml_lifecycle.api.mlflow_protocol import Invocations
from ml_lifecycle.api.open_inference import Infer
from ml_lifecycle.api.predict import Predict
from ml_lifecycle.api.problems import Problem
from ml_lifecycle.api.readiness import Readiness
from ml_lifecycle.api.readings import add_readings
from ml_lifecycle.api.reload import LOOK_SECONDS as RELOAD_LOOK_SECONDS
from ml_lifecycle.api.reload import Reload
from ml_lifecycle.api.scoring import Scoring
from ml_lifecycle.api.server import GIVEN_UP
from ml_lifecycle.api.settings import Settings, read_settings
from ml_lifecycle.api.slot import Slot
from ml_lifecycle.api.upkeep import attempt, repeat

#: Seconds between two looks at the prediction log: whether a segment is to be closed, and what the disk is to confirm.
LOG_LOOK_SECONDS = 1.0
#: Until the look at idle connections begins anew, if it ever ends.
AGAIN_SECONDS = 1.0
#: What is wrong if a duty fails, for the log.
CACHE_TROUBLE = "the cache cannot be read"
LOG_TROUBLE = "the prediction log is at risk"
IDLE_TROUBLE = "idle connections are not closed"


class Application(FastAPI):
    """FastAPI, with the guard before all of it.

    As a middleware it would stand behind some of FastAPI's own, which every prediction would pass.
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
        orders = self._orders()
        self.segments = Segments(
            orders.log,
            f"w{os.getpid()}_{secrets.token_hex(4)}",
            self.settings.log_max_bytes,
            self.settings.log_segment_bytes,
            self.settings.log_seconds,
        )
        self.attendant = Attendant(orders)
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
            reload_seconds=settings.reload_seconds,
        )

    def _make_app(self) -> FastAPI:
        app = Application(
            title="ml-lifecycle", version=__version__, docs_url=None, redoc_url=None, lifespan=self._lifespan
        )
        predictions = self._predictions()
        app.router.routes.extend(predictions)
        readiness = Readiness(self.slot, self.reload, self.authentication)
        add_readings(app, self.slot, readiness, self.measurements)
        page.add_routes(app, readiness.facts)
        for kind in (Problem, HTTPException, Exception):
            app.add_exception_handler(kind, _refused)
        app.openapi = lambda: openapi.document(app, self.slot.model)  # type: ignore[method-assign]
        app.guard = Guard(
            app.answer,
            shorter={route.path: route.endpoint for route in predictions if not route.param_convertors},
            catch_up=self.reload.catch_up,
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
