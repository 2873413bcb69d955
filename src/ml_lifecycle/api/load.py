"""From the verified folder of a version to a model that answers.

The attendant does it before it places a version, and each serving process before the version answers anybody: so what
serving processes would refuse does not get as far as to them.
"""

from ml_lifecycle.api.model_cache import Current, Loaded
from ml_lifecycle.api.model_facts import facts_of, mlflow_version
from ml_lifecycle.api.reason import reason_of
from ml_lifecycle.api.records import Records
from ml_lifecycle.api.served_model import ServedModel
from ml_lifecycle.errors import LifecycleError

#: Rows of the trial before a model answers anybody, alone and together.
WARM_UP_ROWS = (1, 2, 100)


class LoadError(LifecycleError):
    """A version that is what was signed, and that cannot serve."""


def load(current: Current, loaded: Loaded, max_rows: int) -> ServedModel:
    """Make what serves of a version, and let it answer its own example.

    Args:
        current: what is told of the version.
        loaded: its folder, verified.
        max_rows: of one request.

    Raises:
        LoadError: whatever goes wrong with it: the file is no model, or none of ours, or does not answer.
    """
    try:
        records = Records(loaded.model.roles, max_rows)
        facts = facts_of(current, loaded, records)
        served = ServedModel(current.name, current.version, loaded.model, records, facts, mlflow_version(loaded))
    except Exception as error:
        raise _refusal(current, "cannot be loaded", error) from error
    try:
        served.warm_up(WARM_UP_ROWS)
    except Exception as error:
        raise _refusal(current, "does not answer its own example", error) from error
    return served


def _refusal(current: Current, what: str, error: Exception) -> LoadError:
    return LoadError(
        f"The model of {current} is what was signed, and {what} ({reason_of(error)}). Point the alias to a version "
        "that serves."
    )
