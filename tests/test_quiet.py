"""Telemetry off, known third-party warnings off, everything else heard."""

import os
import subprocess
import sys
import warnings

import pytest

from ml_lifecycle import quiet

VARIABLES = ("DO_NOT_TRACK", "KEDRO_DISABLE_TELEMETRY", "MLFLOW_DISABLE_TELEMETRY", "DVC_NO_ANALYTICS")


def in_new_process(code: str, **variables: str) -> str:
    """Run code in a Python that knows none of the variables."""
    inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env={**inherited, **variables}, check=True, capture_output=True, text=True
    ).stdout.strip()


def heard(message: str, category: type[Warning]) -> list[str]:
    """Warn, and return what gets past the silence."""
    texts: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_where, **_more: texts.append(str(message))
        quiet.be_quiet()
        warnings.warn(message, category, stacklevel=1)
    return texts


@pytest.mark.parametrize("name", VARIABLES)
def test_telemetry_is_off(name: str) -> None:
    """Importing the package switches each tool's telemetry off."""
    assert in_new_process(f"import os, ml_lifecycle; print(os.environ['{name}'])") == "true"


def test_the_users_setting_wins() -> None:
    """A variable that the user has set stays as it is."""
    code = "import os, ml_lifecycle; print(os.environ['DO_NOT_TRACK'])"
    assert in_new_process(code, DO_NOT_TRACK="false") == "false"


def test_settings_are_those_of_the_file() -> None:
    """The file sets these variables and no others."""
    assert dict.fromkeys(VARIABLES, "true") == quiet.telemetry_settings()


def test_known_warning_is_dropped() -> None:
    """A warning that is on the list is not shown."""
    message = "\x1b[33mAdd type hints to the `predict` method to enable data validation"
    assert heard(message, UserWarning) == []


@pytest.mark.parametrize(
    ("message", "category"),
    [
        ("something new", UserWarning),
        ("Add type hints to the `predict` method to enable data validation", DeprecationWarning),
    ],
)
def test_other_warnings_are_heard(message: str, category: type[Warning]) -> None:
    """Another text, or the same text in another category, is shown."""
    assert heard(message, category) == [message]


def test_silence_is_installed_once() -> None:
    """Being quiet twice is being quiet once."""
    with warnings.catch_warnings():
        warnings.showwarning = warnings._showwarning_orig
        quiet.be_quiet()
        first = warnings.showwarning
        quiet.be_quiet()
        assert first is warnings.showwarning


@pytest.mark.parametrize("silenced", quiet.SILENCED)
def test_silence_has_a_reason(silenced: quiet.Silenced) -> None:
    """Each dropped warning says why nobody can act on it."""
    assert len(silenced.reason.split()) > 5
