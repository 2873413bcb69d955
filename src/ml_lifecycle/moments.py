"""The known-at contract: when the value of a column becomes known.

A model asked for its answer at one moment may only use columns known at that moment or before.
"""

from collections.abc import Iterable
from enum import StrEnum

from ml_lifecycle.errors import ConfigurationError


class Moment(StrEnum):
    """Moments in the order in which they come."""

    SCHEDULE = "schedule"
    BEFORE_DEPARTURE = "before_departure"
    AT_DEPARTURE = "at_departure"
    AFTER_LANDING = "after_landing"

    @property
    def order(self) -> int:
        """Position in time, the earliest first."""
        return list(type(self)).index(self)


def latest(moments: Iterable[Moment]) -> Moment:
    """Return the moment at which everything is known."""
    return max(moments, key=lambda moment: moment.order)


def known_by(known_at: dict[str, Moment], moment: Moment) -> list[str]:
    """Name the columns known at ``moment`` or before, in their given order."""
    return [column for column, known in known_at.items() if known.order <= moment.order]


def refuse_later(asked: Iterable[str], known_at: dict[str, Moment], moment: Moment) -> None:
    """Refuse columns that are unknown, or known only after ``moment``.

    Raises:
        ConfigurationError: names each such column, its moment, and what is allowed.
    """
    asked = list(asked)
    unknown = sorted(set(asked) - set(known_at))
    if unknown:
        raise ConfigurationError(f"No such feature: {', '.join(unknown)}. Allowed: {', '.join(sorted(known_at))}.")
    late = [column for column in asked if known_at[column].order > moment.order]
    if late:
        named = ", ".join(f"'{column}' (known {known_at[column]})" for column in late)
        raise ConfigurationError(
            f"Not known at the prediction moment '{moment}': {named}. "
            f"Allowed: {', '.join(known_by(known_at, moment))}. "
            "Drop the column from features.columns, or choose a later features.prediction_moment."
        )
