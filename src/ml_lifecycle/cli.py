"""`kedro run`, with errors in one line instead of a traceback; `kedro hold`."""

import copy
import functools
import signal
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import click
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import env_option
from kedro.framework.project import settings
from kedro.io import DatasetError
from kedro.utils import find_kedro_project
from kedro.validation import DataValidationError, ParameterValidationError

from ml_lifecycle import faults
from ml_lifecycle.errors import ConfigurationError, DataContractError, LifecycleError, ServerError
from ml_lifecycle.explanations import explain_contract, explain_parameters
from ml_lifecycle.hold import HoldFile
from ml_lifecycle.hooks.servers import refuse_missing_variables
from ml_lifecycle.hooks.tracking import close_interrupted
from ml_lifecycle.shared_store import give_back, hold_file


def _cause_of_ours(error: BaseException) -> LifecycleError | None:
    """Find the error of this project that Kedro has wrapped, perhaps twice, on its way through a dataset."""
    return next((cause for cause in faults.chain(error) if isinstance(cause, LifecycleError)), None)


def _notes(error: BaseException) -> list[str]:
    return [note for cause in faults.chain(error) for note in getattr(cause, "__notes__", [])]


def _is_of_selection(error: ValueError) -> bool:
    """Whether Kedro raised it while it looked for the pipelines and nodes that a command names."""
    frames = [
        (frame.f_globals["__name__"], frame.f_code.co_name) for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    return ("kedro.pipeline.pipeline", "filter") in frames or frames[-1] == ("kedro.framework.session.session", "run")


def _explained(command: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return command(*args, **kwargs)
    except LifecycleError:
        raise
    except ParameterValidationError as error:
        raise ConfigurationError(explain_parameters(error)) from error
    except DataValidationError as error:
        raise DataContractError(explain_contract(error)) from error
    except Exception as error:
        if ours := _cause_of_ours(error):
            raise ours from error
        if fault := faults.explain(error):
            raise ServerError(" ".join([fault.text, *_notes(error)])) from error
        if isinstance(error, MissingConfigException):
            raise ConfigurationError(f"{error}. Environments are the folders in conf/.") from error
        if isinstance(error, ValueError) and _is_of_selection(error):
            raise ConfigurationError(
                f"{str(error).strip().removesuffix('.')}. Nothing was run. `kedro registry list` names the pipelines, "
                "`kedro registry describe PIPELINE` its nodes."
            ) from error
        if isinstance(error, DatasetError):
            raise DataContractError(str(error)) from error
        raise
    finally:
        give_back()  # also after Ctrl-C, of which Kedro tells no hook


def _interruptible(command: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Let a polite end, as a scheduler asks for, be one like Ctrl-C: the store is given back, the MLflow run closed."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _explained(command, *args, **kwargs)
    except KeyboardInterrupt:
        close_interrupted()
        raise


@click.group(name="ml-lifecycle")
def cli() -> None:
    """Commands of this project."""


run = copy.copy(kedro_run)
run.callback = functools.partial(_interruptible, cast("Callable[..., Any]", kedro_run.callback))
cli.add_command(run)


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
    held = _explained(lambda: _hold_file(env).read())
    click.echo(f"The store is held by {held}." if held else "Nobody holds the store.")


@hold.command()
@env_option
@click.option("--force", is_flag=True, help="Also if it is at work on this machine.")
def clear(env: str | None, force: bool) -> None:
    """Clear the hold of a run that is gone."""
    held = _explained(lambda: _hold_file(env).clear(by_force=force))
    click.echo(f"Cleared the hold of {held}." if held else "There is no hold any more.")
