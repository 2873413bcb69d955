"""Runs the service: ``python -m ml_lifecycle.api``, with settings from the environment."""

import contextlib
import math
import os
import shutil
import tempfile
from collections.abc import Iterator

import uvicorn

from ml_lifecycle.api import json_log, open_files
from ml_lifecycle.api.connection import Connection
from ml_lifecycle.api.measurements import SHARED
from ml_lifecycle.api.server import Server, Workers
from ml_lifecycle.api.settings import Settings, read_settings
from ml_lifecycle.errors import ConfigurationError


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
        timeout_keep_alive=math.ceil(settings.idle_seconds),
        timeout_graceful_shutdown=math.ceil(settings.shutdown_seconds),
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


def _allow_connections(wanted: int) -> None:
    """Have as many files as the wanted connections need, or tell in the log how many connections there can be instead.

    Raises:
        ConfigurationError: there can be none.
    """
    open_files.raise_limit(wanted)
    allowed = open_files.allowed_connections(wanted)
    if allowed < wanted:
        spare, needed = open_files.SPARE_FILES, wanted + open_files.SPARE_FILES
        reason = (
            f"this process may open {open_files.limit()} files, of which {spare} are kept for other things than "
            f"connections; API_MAX_CONNECTIONS={wanted} needs {needed} (ulimit -n {needed})"
        )
        if allowed < 1:
            raise ConfigurationError(f"There can be no connections: {reason}.")
        json_log.write("warning", "fewer connections than set", connections=allowed, reason=reason)


def main() -> None:
    """Serve until told to end."""
    try:
        settings = read_settings()
        _allow_connections(settings.max_connections)
    except ConfigurationError as error:
        raise SystemExit(f"Error: {error.message}") from None
    config = configuration(settings)
    with _counting_together(settings.workers):
        if settings.workers == 1:
            Server(config).run()
        else:
            Workers(config, [config.bind_socket()]).run()


if __name__ == "__main__":
    main()
