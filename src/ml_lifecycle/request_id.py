"""The name of an answer, by which it is found again.

A request id is ``<day>-<digest>``: the day of scoring in UTC, and the first half of SHA-256 over
the model's digest, the time of scoring and the key of the row. Whoever has these can compute it.
"""

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime

DIGITS = 32
_FORM = re.compile(rf"([0-9]{{8}})-[0-9a-f]{{{DIGITS}}}")


def of_rows(model_digest: str, scored_at: datetime, keys: Iterable[str]) -> list[str]:
    """Name the answers that a model gives at one time.

    Args:
        model_digest: SHA-256 of the model.
        scored_at: with a time zone.
        keys: one for each answer, none twice.
    """
    moment = scored_at.astimezone(UTC)
    day, start = moment.date().isoformat().replace("-", ""), f"{model_digest}\n{moment.isoformat()}\n".encode()
    return [f"{day}-{hashlib.sha256(start + key.encode()).hexdigest()[:DIGITS]}" for key in keys]


def day_of(text: str) -> date:
    """Return the day, in UTC, on which the answer with this id was given.

    Raises:
        ValueError: the text is no request id.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"no request id: {text!r}")
    return date.fromisoformat(found[1])


def is_well_formed(text: str) -> bool:
    """Tell whether a text can be a request id."""
    try:
        day_of(text)
    except ValueError:
        return False
    return True


def folder_of(day: date) -> str:
    """Name the folder of the prediction log that holds the answers of a day."""
    return f"date={day.isoformat()}"
