"""Errors in the words of the person who has to act on them, in one line."""

import re
import traceback
from collections.abc import Callable
from typing import Any

import pandas as pd
from kedro.config import MissingConfigException
from kedro.io import DatasetError
from kedro.validation import DataValidationError, ParameterValidationError

from ml_lifecycle import faults
from ml_lifecycle.errors import ConfigurationError, DataContractError, LifecycleError, ServerError
from ml_lifecycle.shared_store import give_back

FIRST_ROWS = 5
_PREFIX = re.compile(r"Failed to instantiate \w+ for parameter '[^']+': ")
_COUNT = re.compile(r"\d+ validation errors? for \w+\n\s*")
_ADDRESS = re.compile(r"\n\s*For further information visit \S+")
_GIVEN_IN_TEXT = re.compile(r" ?\[type=value_error, .*?, input_type=\w+\]|Value error, ", re.DOTALL)
_GIVEN = re.compile(r"\[type=\w+, input_value=(.*?), input_type=\w+\]", re.DOTALL)


def explain_parameters(error: ParameterValidationError) -> str:
    """Keep what is wrong and what is allowed; drop class names and addresses."""
    text = str(error).removeprefix("Parameter validation failed:\n")
    for noise in (_PREFIX, _COUNT, _ADDRESS, _GIVEN_IN_TEXT):
        text = noise.sub("", text)
    text = _GIVEN.sub(r"(got \1)", text)
    return " ".join(line.removeprefix("- ").strip() for line in text.splitlines())


def _cases(name: str, check: str, cases: pd.DataFrame) -> str:
    rows = cases["index"].notna()
    shown = [
        f"row {row}: {value}" if known else str(value)
        for row, value, known in zip(cases["index"], cases["failure_case"], rows, strict=True)
    ]
    more = ", …" if len(shown) > FIRST_ROWS else ""
    return f"  column '{name}', {check}: {len(cases)} cases ({', '.join(shown[:FIRST_ROWS])}{more})"


def explain_contract(error: DataValidationError) -> str:
    """Name the table, and for each broken check its column, the number of cases and the first rows."""
    found = getattr(error.__cause__, "failure_cases", None)
    if not isinstance(found, pd.DataFrame):
        return str(error)
    groups = found.groupby(["column", "check"], sort=False, dropna=False)
    lines = [_cases(str(column), str(check), cases) for (column, check), cases in groups]
    head = f"The table '{error.dataset_name}' breaks its contract {error.validator} in {len(lines)} checks."
    return "\n".join([head, *lines, "Nothing was written. Correct the table, or change the contract if it is wrong."])


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


def explained(command: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a command; what people can act on becomes an error of this project, whose message is one line.

    Raises:
        LifecycleError: such an error, with the original one as its cause.
    """
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
