"""Runs the service: ``python -m ml_lifecycle.api``, with settings from the environment."""

import contextlib
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator

import uvicorn

from ml_lifecycle.api import json_log
from ml_lifecycle.api.connection import Connection
from ml_lifecycle.api.measurements import SHARED
from ml_lifecycle.api.server import Server, Workers
from ml_lifecycle.api.settings import Settings, read_settings
from ml_lifecycle.errors import ConfigurationError

#: Open files beside connections: the model, segments, logs, libraries.
SPARE_FILES = 200


def configuration(settings: Settings) -> uvicorn.Config:
    """How uvicorn runs the service."""
    return uvicorn.Config(
        "ml_lifecycle.api:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=json_log.LOGGING,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(settings.idle_seconds),
        timeout_graceful_shutdown=int(settings.shutdown_seconds),
    )


@contextlib.contextmanager
def _counting_together(workers: int) -> Iterator[None]:
    """Let several workers count in one folder."""
    if workers == 1:
        yield
        return
    folder = tempfile.mkdtemp(prefix="ml-lifecycle-metrics-")
    os.environ[SHARED] = folder
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _allow_connections(most: int) -> None:
    """Each connection is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def main() -> None:
    """Serve until told to end."""
    try:
        settings = read_settings()
    except ConfigurationError as error:
        raise SystemExit(f"Error: {error.message}") from None
    _allow_connections(settings.max_connections)
    config = configuration(settings)
    with _counting_together(settings.workers):
        if settings.workers == 1:
            Server(config).run()
        else:
            Workers(config, [config.bind_socket()]).run()


if __name__ == "__main__":
    main()
