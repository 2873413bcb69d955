"""The paths that are read only: how the service is doing, which model answers, and the same in others' protocols."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from ml_lifecycle.api import open_inference
from ml_lifecycle.api.measurements import CONTENT_TYPE, Measurements
from ml_lifecycle.api.problems import not_ready
from ml_lifecycle.api.readiness import Readiness
from ml_lifecycle.api.slot import Slot

Endpoint = Callable[..., Any]


def _get_or_head(app: FastAPI, path: str, **described: Any) -> Callable[[Endpoint], Endpoint]:
    """Add a path that load balancers ask, some of them by HEAD; the description has GET alone."""

    def add(endpoint: Endpoint) -> Endpoint:
        app.add_api_route(path, endpoint, methods=["GET", "HEAD"], include_in_schema=False)  # the first one answers
        app.add_api_route(path, endpoint, methods=["GET"], **described)
        return endpoint

    return add


def add_readings(app: FastAPI, slot: Slot, readiness: Readiness, measurements: Measurements) -> None:  # noqa: C901 - one small function for each path
    """Add the paths that are read only."""

    @_get_or_head(app, "/health", tags=["operation"], summary="Whether the process answers")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @_get_or_head(app, "/ready", tags=["operation"], summary="Whether a verified model answers, and why not")
    async def ready(request: Request) -> JSONResponse:
        found = readiness.of(request)
        return JSONResponse(found, HTTPStatus.OK if found["ready"] else HTTPStatus.SERVICE_UNAVAILABLE)

    @app.get("/metrics", tags=["operation"], response_class=PlainTextResponse, summary="Measurements for Prometheus")
    async def metrics() -> Response:
        return Response(measurements.page(), media_type=CONTENT_TYPE)

    @app.get("/latency", tags=["operation"], summary="How fast this process answered in the last minutes")
    async def latency() -> dict[str, Any]:
        return measurements.latency()

    @app.get("/model", tags=["model"], summary="The model that answers: origin, quality, card, what it is asked with")
    async def model() -> dict[str, Any]:
        found = readiness.facts()
        if found is None:
            raise not_ready(slot.reason)
        return found

    @_get_or_head(app, "/ping", tags=["MLflow"], response_class=PlainTextResponse, summary="200 if a model answers")
    async def ping() -> Response:
        return PlainTextResponse("\n", HTTPStatus.OK if slot.model else HTTPStatus.SERVICE_UNAVAILABLE)

    @app.get("/version", tags=["MLflow"], response_class=PlainTextResponse, summary="The MLflow whose protocol this is")
    async def version() -> Response:
        return Response(slot.take().model.mlflow_version, media_type="text/plain")

    @app.get("/v2", tags=["Open Inference"], summary="The server")
    async def server() -> dict[str, Any]:
        return open_inference.server_metadata()

    @_get_or_head(app, "/v2/health/live", tags=["Open Inference"], summary="Whether the process answers")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @_get_or_head(app, "/v2/health/ready", tags=["Open Inference"], summary="Whether a model answers")
    async def server_ready(request: Request) -> dict[str, bool]:
        if slot.model is None:
            raise not_ready(readiness.reason(request))
        return {"ready": True}

    @app.get("/v2/models/{name}", tags=["Open Inference"], summary="The model's tensors")  # noqa: FAST003 - of the path
    @app.get("/v2/models/{name}/versions/{version}", tags=["Open Inference"], summary="The model's tensors")
    async def metadata(request: Request) -> dict[str, Any]:
        serving = slot.take()
        open_inference.refuse_another(serving, request.path_params)
        return open_inference.model_metadata(serving.model)

    @app.get("/v2/models/{name}/ready", tags=["Open Inference"], summary="Whether the model answers")  # noqa: FAST003 - of the path
    @app.get("/v2/models/{name}/versions/{version}/ready", tags=["Open Inference"], summary="Whether it answers")
    async def model_ready(request: Request) -> dict[str, Any]:
        serving = slot.take()
        open_inference.refuse_another(serving, request.path_params)
        return {"name": serving.model.name, "ready": True}
