"""`kedro run`, with errors in one line instead of a traceback."""

import copy
import functools
from collections.abc import Callable
from typing import Any, cast

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.io import DatasetError
from kedro.validation import DataValidationError, ParameterValidationError

from ml_lifecycle.errors import ConfigurationError, DataContractError
from ml_lifecycle.explanations import explain_contract, explain_parameters


def _explained(command: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return command(*args, **kwargs)
    except ParameterValidationError as error:
        raise ConfigurationError(explain_parameters(error)) from error
    except DataValidationError as error:
        raise DataContractError(explain_contract(error)) from error
    except DatasetError as error:
        raise DataContractError(str(error)) from error


@click.group(name="ml-lifecycle")
def cli() -> None:
    """Commands of this project."""


run = copy.copy(kedro_run)
run.callback = functools.partial(_explained, cast("Callable[..., Any]", kedro_run.callback))
cli.add_command(run)
