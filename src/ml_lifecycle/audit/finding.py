"""What came of checking one link."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from ml_lifecycle import faults
from ml_lifecycle.gate import Answer


class State(StrEnum):
    """What came of checking a link."""

    HOLDS = "holds"
    BROKEN = "broken"
    UNCHECKED = "cannot be checked here"


class Finding(BaseModel):
    """One link of the chain: what was compared, and what came of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    link: str
    state: State
    detail: str


class BrokenError(Exception):
    """A link that does not hold; the message says what was expected and what was found."""


class UncheckedError(Exception):
    """A link that cannot be checked here; the message says why."""


def check(link: str, ask: Callable[[], str]) -> Finding:
    """Ask for a link: what is returned says that it holds, an error that it does not, or why nobody can tell."""
    try:
        return Finding(link=link, state=State.HOLDS, detail=ask())
    except BrokenError as error:
        return Finding(link=link, state=State.BROKEN, detail=str(error))
    except UncheckedError as error:
        return Finding(link=link, state=State.UNCHECKED, detail=str(error))
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # readers of changed content
        detail = f"expected what a run writes, found what cannot be read: {type(error).__name__}: {error}"
        return Finding(link=link, state=State.BROKEN, detail=detail)
    except Exception as error:
        fault = faults.explain(error)
        if fault is None:
            raise
        return Finding(link=link, state=State.UNCHECKED, detail=fault.text)


def overall(findings: list[Finding]) -> Answer:
    """One broken link is a no; otherwise one that could not be checked leaves it open."""
    states = {finding.state for finding in findings}
    if State.BROKEN in states:
        return Answer.NO
    return Answer.YES if states == {State.HOLDS} else Answer.CANNOT


def same(what: str, expected: Any, found: Any) -> None:
    """See that two values are the same.

    Raises:
        BrokenError: they are not.
    """
    if expected != found:
        raise BrokenError(f"{what}: expected {shown(expected)}, found {shown(found)}")


def all_same(what: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """See that two mappings are the same.

    Raises:
        BrokenError: they are not; it names what differs.
    """
    if told := differences(expected, found):
        raise BrokenError(f"{what}: {'; '.join(told)}")


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Name what differs between two mappings."""
    names = sorted({*expected, *found})
    return [
        f"{name}: expected {shown(expected.get(name))}, found {shown(found.get(name))}"
        for name in names
        if expected.get(name) != found.get(name)
    ]


def shown(value: Any) -> str:
    """A value in a sentence."""
    return "nothing" if value in (None, "") else str(value)
