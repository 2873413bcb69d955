"""`kedro run`, with errors in one line instead of a traceback."""

import copy
import functools
from collections.abc import Callable
from typing import Any, cast

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.io import DatasetError
from kedro.validation import DataValidationError, ParameterValidationError

from ml_lifecycle.errors import ConfigurationError, DataContractError, LifecycleError
from ml_lifecycle.explanations import explain_contract, explain_parameters


def _cause_of_ours(error: BaseException) -> LifecycleError | None:
    """Find the error of this project that Kedro has wrapped, perhaps twice, on its way through a dataset."""
    cause = error.__cause__
    if cause is None or isinstance(cause, LifecycleError):
        return cause
    return _cause_of_ours(cause)


def _explained(command: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return command(*args, **kwargs)
    except ParameterValidationError as error:
        raise ConfigurationError(explain_parameters(error)) from error
    except DataValidationError as error:
        raise DataContractError(explain_contract(error)) from error
    except DatasetError as error:
        raise _cause_of_ours(error) or DataContractError(str(error)) from error


@click.group(name="ml-lifecycle")
def cli() -> None:
    """Commands of this project."""


run = copy.copy(kedro_run)
run.callback = functools.partial(_explained, cast("Callable[..., Any]", kedro_run.callback))
cli.add_command(run)
