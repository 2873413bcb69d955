"""What every request passes: id, key, limits; and what every answer gets: headers, a line in the log, a count."""

import traceback
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ml_lifecycle.api import call as calls
from ml_lifecycle.api import json_log, mlflow_protocol, open_inference
from ml_lifecycle.api.authentication import Authentication
from ml_lifecycle.api.body import CLOSE, refuse_large
from ml_lifecycle.api.call import Call
from ml_lifecycle.api.json_log import RequestLog
from ml_lifecycle.api.measurements import Measurements
from ml_lifecycle.api.problems import MEDIA_TYPE, Problem, short
from ml_lifecycle.api.settings import is_loopback

#: Asked by what watches over the service, which has no key.
OPEN = frozenset({"/health", "/ping", "/ready", "/v2/health/live", "/v2/health/ready"})
#: What a process tells of itself, whether it has a model or not.
OF_PROCESS = frozenset({"/health", "/latency", "/metrics", "/v2/health/live"})
#: For people, in a browser.
_PAGES = "default-src 'none'; script-src 'self'; style-src 'self'{}; img-src 'self' data:; connect-src 'self'; "
_FRAMES = "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
POLICIES = {
    "/": (_PAGES.format("") + _FRAMES).encode(),
    "/docs": (_PAGES.format(" 'unsafe-inline'") + _FRAMES).encode(),  # Swagger UI sets styles on its elements
}
ALWAYS = [(b"x-content-type-options", b"nosniff")]
UNSEEN = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
PLAIN = [*ALWAYS, UNSEEN, (b"cache-control", b"no-store")]
FOR_PAGES = {
    path: [*ALWAYS, (b"content-security-policy", policy), (b"referrer-policy", b"no-referrer")]
    for path, policy in POLICIES.items()
}
STATIC = "/static/"
#: Headers of a request that are looked at.
_READ = frozenset({b"authorization", b"content-length", b"host", b"origin", b"x-api-key", b"x-request-id"})
FOR_STATIC = [*ALWAYS, UNSEEN]  # pages and their files say themselves how long they may be kept


class Guard:
    """The outermost layer of the application.

    Args:
        app: what answers.
        shorter: what answers POST requests to some paths, without a search among all paths.
        catch_up: called before whatever may ask for the model.
        authentication: knows the keys; None lets everybody ask.
        measurements: count.
        routes: the paths there are.
        max_body_bytes: of a request.
        log_requests: whether each one is a line of the log.
    """

    def __init__(  # noqa: PLR0913 - by name, all of them
        self,
        app: ASGIApp,
        *,
        shorter: Mapping[str, ASGIApp],
        catch_up: Callable[[], Awaitable[None]],
        authentication: Authentication | None,
        measurements: Measurements,
        routes: Collection[str],
        max_body_bytes: int,
        log_requests: bool,
    ) -> None:
        self._app, self._shorter, self._catch_up = app, shorter, catch_up
        self._authentication, self._measurements = authentication, measurements
        self._routes, self._max_body = frozenset(routes), max_body_bytes
        self._log_requests = log_requests
        self._log: RequestLog | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or refuse it."""
        call = Call()
        scope[calls.KEY] = call
        status, started = 500, False
        path: str = scope["path"]

        async def answer(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                headers: list[tuple[bytes, bytes]] = message.setdefault("headers", [])
                protecting = FOR_STATIC if path.startswith(STATIC) else FOR_PAGES.get(path, PLAIN)
                message["headers"] = [*headers, *protecting, (b"x-request-id", call.id().encode())]
            await send(message)

        try:
            try:
                self._admit(scope, call, path)
                if path not in OF_PROCESS:
                    await self._catch_up()
                app = self._shorter.get(path, self._app) if scope["method"] == "POST" else self._app
                await app(scope, receive, answer)
            except Problem as problem:
                if not started:
                    await _tell(problem, scope, answer)
        except Exception as error:  # noqa: BLE001 - its traceback is for the log, not for the caller
            json_log.write(
                "error",
                "a request failed",
                path=path,
                request_id=call.id(),
                traceback="".join(traceback.format_exception(error)),
            )
            if not started:
                await _tell(FAILED, scope, answer)
        finally:
            self._note(scope, call, status)

    def _admit(self, scope: Scope, call: Call, path: str) -> None:
        """Refuse a request by its head, or take over what it tells.

        Raises:
            Problem: 401, 403 or 413.
        """
        given = {name: value for name, value in scope["headers"] if name in _READ}
        if b"content-length" in given:
            refuse_large(int(given[b"content-length"]), self._max_body)
        if b"x-request-id" in given:
            call.correlation_id = calls.well_formed(given[b"x-request-id"])
        host = given.get(b"host", b"")
        if b"origin" in given:
            _refuse_other_sites(given[b"origin"], host)
        if self._authentication is None:
            _refuse_other_names(host)
        elif path not in OPEN:
            self._authentication.refuse_strangers(given.get(b"authorization", b""), given.get(b"x-api-key", b""))

    def _note(self, scope: Scope, call: Call, status: int) -> None:
        seconds = call.seconds()
        route = self._route_of(scope["path"])
        self._measurements.request(route, status, seconds)
        if self._log_requests:
            self._log = self._log or RequestLog()
            self._log.add(**_facts(scope, call, status, route, seconds))

    def _route_of(self, path: str) -> str:
        """One of the known paths, so that strangers cannot make up labels."""
        if path in self._routes:
            return path
        if path.startswith("/v2/models/") and path.endswith("/infer"):
            return "/v2/models/{name}/infer"
        return STATIC if path.startswith(STATIC) else "other"


def _refuse_other_sites(origin: bytes, host: bytes) -> None:
    """Refuse what a browser sends for a page of another site: it may send its user's key along.

    Raises:
        Problem: 403.
    """
    if origin.partition(b"://")[2] != host:
        raise Problem(
            HTTPStatus.FORBIDDEN, f"A page of {short(origin.decode('latin-1'))} may not ask this service.", [], CLOSE
        )


@lru_cache(maxsize=64)
def _refuse_other_names(host: bytes) -> None:
    """Refuse names that only somebody else's name server gives this machine; where no key is asked for, that counts.

    Raises:
        Problem: 403.
    """
    name = host.decode("latin-1")
    name = name.rpartition("]")[0].removeprefix("[") if name.startswith("[") else name.partition(":")[0]
    if not is_loopback(name):
        raise Problem(
            HTTPStatus.FORBIDDEN,
            f"This service asks for no key and answers to names of this machine only, such as localhost; got the host "
            f"{short(name)!r}.",
            [],
            CLOSE,
        )


def _facts(scope: Scope, call: Call, status: int, route: str, seconds: float) -> dict[str, Any]:
    return {
        "method": scope["method"],
        "route": route,
        "status": status,
        "request_id": call.request_id,
        "correlation_id": call.correlation_id,
        "version": call.version,
        "rows": call.rows,
        "ms": round(seconds * 1000, 3),
        "client": scope["client"][0] if scope.get("client") else None,
    }


async def _tell(problem: Problem, scope: Scope, send: Send) -> None:
    """Refuse a request that did not get as far as FastAPI."""
    content, headers = refusal(problem, scope)
    await send({"type": "http.response.start", "status": problem.status.value, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def refusal(problem: Problem, scope: Scope) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """How a request is refused, in the words of its protocol: body and headers."""
    path, kind = scope["path"], JSON
    if path == "/invocations":
        content = mlflow_protocol.error(problem)
    elif path.startswith("/v2"):
        content = open_inference.error(problem)
    else:
        content, kind = problem.content(calls.of(scope).id()), MEDIA_TYPE
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(content)), *problem.headers]
    return content, [*headers, *CLOSE] if problem.status in _UNREAD else headers


#: For the log and its reader; a caller is told no more.
FAILED = Problem(
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "The service failed at this request; nothing is known to be wrong with the request itself.",
)
JSON = b"application/json"
#: The body may not have been read: what follows on the connection could be the rest of it.
_UNREAD = {HTTPStatus.UNAUTHORIZED, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}
