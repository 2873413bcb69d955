"""`kedro run`, with errors in one line instead of a traceback."""

import sys
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from kedro.framework.cli.project import run as kedro_run
from kedro.io import DatasetError
from kedro.validation import DataValidationError, ParameterValidationError

from ml_lifecycle import __main__, cli
from ml_lifecycle.errors import (
    ConfigurationError,
    DataContractError,
    LifecycleError,
    ProvenanceError,
    RawInputError,
    RegistryError,
)


def outcome(raised: Exception) -> Result:
    """Run a command that raises, the way `run` is run."""

    def fail() -> None:
        raise raised

    command = click.Command("run", callback=lambda: cli._explained(fail))
    return CliRunner().invoke(command)


@pytest.mark.parametrize(
    "raised",
    [
        ParameterValidationError("Parameter validation failed:\n- Parameter 'model': too large"),
        DataValidationError("table 'flights' is broken"),
        DatasetError("Failed while loading data from dataset flights"),
        RawInputError("The raw input 'flights' has changed"),
        ProvenanceError("git is not installed"),
        RegistryError("No version"),
        ConfigurationError("too large"),
    ],
)
def test_errors_are_printed_without_traceback(raised: Exception) -> None:
    """An error that a user can act on ends the command with 1 and a message on stderr."""
    result = outcome(raised)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.stderr


def test_other_errors_keep_their_traceback() -> None:
    """A bug is not dressed up as the user's mistake."""
    raised = ZeroDivisionError("a bug")
    assert raised is outcome(raised).exception


def test_project_errors_are_not_wrapped_by_kedro() -> None:
    """An error of this project that a dataset raised is printed as it is, in one line."""
    wrapped = DatasetError("Failed while loading data from dataset X.\nNo version of the model")
    wrapped.__cause__ = RegistryError("No version of the model")
    assert outcome(wrapped).stderr == "Error: No version of the model\n"


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (ParameterValidationError("Parameter validation failed:\n- x"), ConfigurationError),
        (DataValidationError("x"), DataContractError),
        (DatasetError("x"), DataContractError),
    ],
)
def test_kedros_errors_become_the_projects(raised: Exception, kind: type[LifecycleError]) -> None:
    """Kedro's errors become the project's, and the cause is kept."""

    def fail() -> None:
        raise raised

    with pytest.raises(kind) as caught:
        cli._explained(fail)
    assert raised is caught.value.__cause__


def test_arguments_and_result_are_handed_on() -> None:
    """A command that succeeds gets its arguments, and its result is returned."""

    def command(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        return args, kwargs

    assert cli._explained(command, 1, env="test") == ((1,), {"env": "test"})


def test_run_takes_what_kedros_run_takes() -> None:
    """The options of `kedro run` are those of Kedro."""
    assert [option.opts for option in kedro_run.params] == [option.opts for option in cli.run.params]


def test_kedros_own_command_is_untouched() -> None:
    """Only this project's command is changed, not Kedro's."""
    assert kedro_run.callback is not cli.run.callback


def test_group_holds_run() -> None:
    """Kedro finds the command in the project's group."""
    assert cli.cli.commands["run"] is cli.run


def test_group_explains_itself() -> None:
    """The group has a help text."""
    assert "Commands of this project." in CliRunner().invoke(cli.cli, ["--help"]).output


@pytest.mark.filterwarnings("default")  # of third parties, as settings are imported
def test_module_is_kedro_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m ml_lifecycle` takes the options of `kedro run`."""
    monkeypatch.setattr(sys, "argv", ["ml_lifecycle", "--help"])
    with pytest.raises(SystemExit, match="0"):
        __main__.main()
    assert "--pipelines" in capsys.readouterr().out
