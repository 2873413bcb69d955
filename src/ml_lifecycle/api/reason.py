"""An error in one line, whoever raised it."""

from ml_lifecycle.errors import LifecycleError

#: Characters of an error that is not ours.
LENGTH = 500


def reason_of(error: BaseException) -> str:
    """Say what went wrong: our own errors in full, those of others with their kind, in one line, and cut."""
    if isinstance(error, LifecycleError):
        return error.message
    text = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
    return text if len(text) <= LENGTH else f"{text[:LENGTH]}…"
