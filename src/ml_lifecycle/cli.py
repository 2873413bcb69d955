"""`kedro run`, with errors in one line instead of a traceback; `kedro hold`; `kedro model`."""

import copy
import functools
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import env_option
from kedro.framework.project import settings
from kedro.utils import find_kedro_project

from ml_lifecycle.errors import ConfigurationError
from ml_lifecycle.explanations import explained
from ml_lifecycle.hold import HoldFile
from ml_lifecycle.hooks.servers import refuse_missing_variables
from ml_lifecycle.hooks.tracking import close_interrupted
from ml_lifecycle.model_commands import model
from ml_lifecycle.shared_store import hold_file


def _interruptible(command: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Let a polite end, as a scheduler asks for, be one like Ctrl-C: the store is given back, the MLflow run closed."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return explained(command, *args, **kwargs)
    except KeyboardInterrupt:
        close_interrupted()
        raise


@click.group(name="ml-lifecycle")
def cli() -> None:
    """Commands of this project."""


run = copy.copy(kedro_run)
run.callback = functools.partial(_interruptible, cast("Callable[..., Any]", kedro_run.callback))
cli.add_command(run)
cli.add_command(model)


def _hold_file(env: str | None) -> HoldFile:
    project = find_kedro_project(Path.cwd()) or Path.cwd()
    conf = str(project / settings.CONF_SOURCE)
    loader = settings.CONFIG_LOADER_CLASS(conf_source=conf, env=env, **settings.CONFIG_LOADER_ARGS)
    refuse_missing_variables(Path(conf), env)
    file = hold_file(loader)
    if file is None:
        raise ConfigurationError(
            f"The environment '{env or 'base'}' shares no store: its globals.yml names no store.hold. "
            "Name an environment that does: `--env minio`."
        )
    return file


@cli.group()
def hold() -> None:
    """Who is at work in a shared store; two runs at once would mix their data."""


@hold.command()
@env_option
def show(env: str | None) -> None:
    """Say who holds the store."""
    held = explained(lambda: _hold_file(env).read())
    click.echo(f"The store is held by {held}." if held else "Nobody holds the store.")


@hold.command()
@env_option
@click.option("--force", is_flag=True, help="Also if it is at work on this machine.")
def clear(env: str | None, force: bool) -> None:
    """Clear the hold of a run that is gone."""
    held = explained(lambda: _hold_file(env).clear(by_force=force))
    click.echo(f"Cleared the hold of {held}." if held else "There is no hold any more.")
