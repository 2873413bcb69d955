"""Errors in words, in one line."""

import itertools
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result
from kedro.config import MissingConfigException
from kedro.io import DatasetError
from kedro.pipeline import Node, Pipeline
from kedro.validation import DataValidationError, PanderaValidator, ParameterValidationError
from pydantic import ValidationError

from ml_lifecycle import explanations, shared_store
from ml_lifecycle.errors import (
    ConfigurationError,
    DataContractError,
    HoldError,
    LifecycleError,
    ProvenanceError,
    RawInputError,
    RegistryError,
    ServerError,
)
from ml_lifecycle.explanations import explain_contract, explain_parameters, explained
from ml_lifecycle.hold import HoldFile
from ml_lifecycle.parameters import SearchOptions
from ml_lifecycle.schemas import Airlines

STORE = "https://store.example.org:9000"
LACKS_BUCKET = (
    f"The object store at {STORE} lacks the bucket (NoSuchBucket in PutObject). Create the buckets: `make stack-init`, "
    "on other stores `python -m ml_lifecycle.buckets`."
)


def refused(**options: object) -> ParameterValidationError:
    """Kedro's error for search options that pydantic refuses."""
    with pytest.raises(ValidationError) as caught:
        SearchOptions.model_validate(options)
    text = f"Failed to instantiate SearchOptions for parameter 'search': {caught.value}"
    return ParameterValidationError(f"Parameter validation failed:\n- Parameter 'search': {text}")


def broken(table: pd.DataFrame) -> DataValidationError:
    """Kedro's error for an airlines table that breaks its contract."""
    with pytest.raises(DataValidationError) as caught:
        PanderaValidator(Airlines).validate(table)
    caught.value.dataset_name = "airlines"
    return caught.value


def test_a_refused_value_is_named_with_what_is_allowed() -> None:
    """One line says which parameter, what is allowed and what was got, and nothing of pydantic."""
    expected = "Parameter 'search': n_trials Input should be greater than or equal to 0 (got -1)"
    assert expected == explain_parameters(refused(n_trials=-1, metric="brier"))


def test_a_misspelt_key_is_named_with_the_allowed_ones() -> None:
    """A key that does not exist is answered with the nearest one and with all."""
    expected = "Parameter 'search': unknown key 'n_trial'. Did you mean 'n_trials'? Allowed: metric, n_trials."
    assert expected == explain_parameters(refused(n_trial=1, metric="brier"))


def test_a_broken_contract_names_table_column_check_count_and_rows() -> None:
    """Each broken check has its column, its number of cases and its first rows."""
    table = pd.DataFrame({"carrier": ["AA", "UA", "AA"], "name": ["American", "United", "American"]})
    lines = explain_contract(broken(table)).splitlines()
    assert "The table 'airlines' breaks its contract ml_lifecycle.schemas.Airlines in 1 checks." == lines[0]
    assert "  column 'carrier', field_uniqueness: 2 cases (row 0: AA, row 2: AA)" == lines[1]


def test_only_the_first_rows_are_shown() -> None:
    """Of many cases the first five are shown, and that there are more."""
    table = pd.DataFrame({"carrier": ["AA"] * 7, "name": ["American"] * 7})
    line = explain_contract(broken(table)).splitlines()[1]
    assert "7 cases" in line
    assert line.endswith("row 4: AA, …)")


def test_a_missing_column_is_named() -> None:
    """A failure that belongs to no row names what is missing."""
    line = explain_contract(broken(pd.DataFrame({"carrier": ["AA"]}))).splitlines()[1]
    assert line.endswith("column_in_dataframe: 1 cases (name)")


def test_another_failure_keeps_its_words() -> None:
    """An error without pandera's cases is passed on as Kedro words it."""
    error = DataValidationError("roles do not fit", dataset_name="table_roles")
    assert str(error) == explain_contract(error)


def outcome(raised: Exception) -> Result:
    """Run a command that raises, the way those of this project are run."""

    def fail() -> None:
        raise raised

    command = click.Command("run", callback=lambda: explained(fail))
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
        ServerError("The object store at http://localhost:9000 lacks the bucket"),
        HoldError("The store is held by ada on laptop"),
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
        explained(fail)
    assert raised is caught.value.__cause__


def test_a_missing_environment_is_named() -> None:
    """A folder of configuration that is not there is the user's mistake, and the text says where they are."""
    raised = MissingConfigException("Given configuration path either does not exist: conf/nowhere")
    assert f"Error: {raised}. Environments are the folders in conf/.\n" == outcome(raised).stderr


def test_a_selection_of_nothing_is_explained() -> None:
    """A node that no pipeline has is refused in one line, which says how to find the names."""
    pipeline = Pipeline([Node(len, "rows", "count", name="count")])
    command = click.Command("run", callback=lambda: explained(pipeline.filter, node_names=["cuont"]))
    result = CliRunner().invoke(command)
    assert (1, "", 1) == (result.exit_code, result.stdout, len(result.stderr.splitlines()))
    assert "Nothing was run. `kedro registry list` names the pipelines" in result.stderr


def test_another_wrong_value_keeps_its_traceback() -> None:
    """A value that code of a node refuses is not taken for a mistake in the command."""
    raised = ValueError("a bug")
    assert raised is outcome(raised).exception


def no_bucket() -> ClientError:
    """Make the error that botocore makes of an answer of a store without buckets."""
    return ClientError({"Error": {"Code": "NoSuchBucket"}, "ResponseMetadata": {"HTTPStatusCode": 404}}, "PutObject")


@pytest.fixture
def _store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the address of the object store."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", STORE)


@pytest.mark.usefixtures("_store")
class TestServerFault:
    """An error of a server becomes one line of advice."""

    def test_is_one_line(self) -> None:
        """The text names the server and says what to do, and nothing of the traceback."""
        result = outcome(no_bucket())
        assert (1, "", f"Error: {LACKS_BUCKET}\n") == (result.exit_code, result.stdout, result.stderr)

    def test_keeps_its_cause(self) -> None:
        """Who handles the error finds the one that was raised."""
        raised = DatasetError("Failed while saving data to dataset model_input")
        raised.__cause__ = no_bucket()

        def fail() -> None:
            raise raised

        with pytest.raises(ServerError) as caught:
            explained(fail)
        assert raised is caught.value.__cause__

    @pytest.mark.parametrize("attribute", ["__cause__", "__context__"])
    def test_is_found_behind_kedros_error(self, attribute: str) -> None:
        """Kedro wraps what a dataset raises, and s3fs what botocore raises: the fault is explained, not the data."""
        wrapped = OSError("Not Found")
        setattr(wrapped, attribute, no_bucket())
        raised = DatasetError("Failed while saving data to dataset model_input.\nNot Found")
        raised.__cause__ = wrapped
        assert f"Error: {LACKS_BUCKET}\n" == outcome(raised).stderr

    def test_tells_what_was_noted(self) -> None:
        """Notes follow the text, those of the error that arrives before those of the errors it wraps."""
        cause = no_bucket()
        cause.add_note("Third.")
        wrapped = OSError("Not Found")
        wrapped.__context__ = cause
        wrapped.add_note("Second.")
        raised = DatasetError("Failed")
        raised.__cause__ = wrapped
        raised.add_note("First: go on with `kedro run`.")
        assert f"Error: {LACKS_BUCKET} First: go on with `kedro run`. Second. Third.\n" == outcome(raised).stderr

    def test_tells_what_was_noted_on_the_wrapped_error(self) -> None:
        """A hook notes on the error that it is told of, which Kedro may wrap afterwards."""
        cause = no_bucket()
        cause.add_note("3 of 9 steps are finished and kept.")
        raised = DatasetError("Failed")
        raised.__cause__ = cause
        assert f"Error: {LACKS_BUCKET} 3 of 9 steps are finished and kept.\n" == outcome(raised).stderr

    def test_ours_counts_more(self) -> None:
        """Where this project has said already what was wrong, its own words are printed."""
        ours = RegistryError("No version of the model")
        ours.__cause__ = no_bucket()
        raised = DatasetError("Failed")
        raised.__cause__ = ours
        assert ["Error: No version of the model\n"] * 2 == [outcome(ours).stderr, outcome(raised).stderr]

    def test_notes_of_other_errors_are_not_printed(self) -> None:
        """A note does not make a fault of a server of an error that is none."""
        raised = DatasetError("Failed while loading data")
        raised.add_note("go on")
        assert "Error: Failed while loading data\n" == outcome(raised).stderr


def circle() -> DatasetError:
    """Make an error of a server, with notes, whose chain leads back to where it starts."""
    first, second = DatasetError("Failed"), no_bucket()
    first.__cause__, second.__cause__ = second, first
    first.add_note("First.")
    second.add_note("Second.")
    return first


def test_notes_of_a_circle_end() -> None:
    """Each error of a chain is asked for its notes once."""
    assert ["First.", "Second."] == list(itertools.islice(explanations._notes(circle()), 3))


def test_search_in_a_circle_ends() -> None:
    """A chain without an error of this project is searched once."""
    assert explanations._cause_of_ours(circle()) is None


def test_arguments_and_result_are_handed_on() -> None:
    """A command that succeeds gets its arguments, and its result is returned."""

    def command(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        return args, kwargs

    assert explained(command, 1, env="test") == ((1,), {"env": "test"})


@pytest.mark.filterwarnings("default")  # of third parties, as files are opened
@pytest.mark.parametrize("raised", [KeyboardInterrupt(), ZeroDivisionError("a bug"), RegistryError("No version")])
def test_the_store_is_given_back(tmp_path: Path, raised: BaseException) -> None:
    """However a run ends, what this process holds is free afterwards."""
    file = HoldFile(f"file://{tmp_path}/hold.json")

    def fail() -> None:
        shared_store.held.append((file, file.acquire("kedro run --env shared")))
        raise raised

    with pytest.raises(type(raised)):
        explained(fail)
    assert (None, []) == (file.read(), shared_store.held)
