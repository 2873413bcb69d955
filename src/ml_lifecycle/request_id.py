"""The name of an answer, by which it is found again.

A request id is ``<day>-<digits>``: the day of scoring in UTC, a hyphen and 32 hexadecimal digits.

- In a batch they are the first half of SHA-256 over the model's digest, the time of scoring and the key of the row.
  Whoever has these can compute the id: a batch that is scored again at the same time names its answers alike.
- Online, where the same row may be asked about many times within a moment, 24 of them are drawn anew for every
  request and nobody can guess them; the last 8 are the number of the row in the request, from 0.
"""

import hashlib
import os
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime

DIGITS = 32
_DRAWN = 24  # of the digits, for every request of a service
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


def of_answers(moment: datetime, count: int) -> list[str]:
    """Name the answers to one request of a service. No other call gives the same names.

    Args:
        moment: of scoring, with a time zone.
        count: how many rows the request has.
    """
    day = moment.astimezone(UTC)
    start = f"{10_000 * day.year + 100 * day.month + day.day:08}-{os.urandom(_DRAWN // 2).hex()}"
    return [f"{start}{row:08x}" for row in range(count)]


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
