"""Known third-party warnings off, everything else heard."""

import warnings

import pytest

from ml_lifecycle import quiet


def heard(message: str, category: type[Warning]) -> list[str]:
    """Warn, and return what gets past the silence."""
    texts: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_where, **_more: texts.append(str(message))
        quiet.be_quiet()
        warnings.warn(message, category, stacklevel=1)
    return texts


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
