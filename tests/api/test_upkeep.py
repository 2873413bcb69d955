"""What is done beside the requests goes on, whatever one time raises."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator

import pytest

from ml_lifecycle.api.log_segments import LogError
from ml_lifecycle.api.upkeep import attempt, repeat

TROUBLE = "it is not done"


class Duty:
    """Fails as it is told to, one time after the other, and then does well."""

    def __init__(self, *failures: Exception) -> None:
        self.failures, self.times = list(failures), 0

    async def __call__(self) -> None:
        """Do it."""
        self.times += 1
        if self.failures:
            raise self.failures.pop(0)


def _run(duty: Callable[[], Awaitable[None]], until: Callable[[], bool]) -> None:
    async def run() -> None:
        task = asyncio.create_task(repeat(duty, 0.001, TROUBLE))
        async with asyncio.timeout(10):
            while not until():
                assert not task.done()
                await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def _told(capfd: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_it_goes_on_whatever_it_raises_and_tells_each_trouble_once(capfd: pytest.CaptureFixture[str]) -> None:
    duty = Duty(RuntimeError("a\nmistake"), RuntimeError("a\nmistake"), LogError("The disk is full."), RuntimeError())
    _run(duty, lambda: duty.times >= 8)
    lines = _told(capfd)
    assert [line["reason"] for line in lines] == ["RuntimeError: a mistake", "The disk is full.", "RuntimeError"]
    assert {(line["level"], line["event"]) for line in lines} == {("error", TROUBLE)}
    assert ["traceback" in line for line in lines] == [True, False, True]  # one that we raise says enough


def test_what_comes_back_after_it_went_well_is_told_again(capfd: pytest.CaptureFixture[str]) -> None:
    async def run() -> None:
        told = await attempt(Duty(OSError("away")), TROUBLE)
        assert told == "OSError: away"
        assert await attempt(Duty(OSError("away")), TROUBLE, told) == told
        assert await attempt(Duty(), TROUBLE, told) is None
        assert await attempt(Duty(OSError("away")), TROUBLE, None) == told

    asyncio.run(run())
    assert len(_told(capfd)) == 2


def test_a_duty_that_has_no_end_is_begun_anew_when_it_fails() -> None:
    begun = []

    async def endless() -> None:
        begun.append(len(begun))
        await asyncio.sleep(0.001)
        if len(begun) < 3:
            raise ValueError(begun)
        await asyncio.sleep(60)

    _run(endless, lambda: len(begun) == 3)


@pytest.fixture
def _nobody_reads() -> Iterator[None]:
    """Let the standard error be a pipe whose reader is gone."""
    kept, (reading, writing) = os.dup(2), os.pipe()
    os.close(reading)
    os.dup2(writing, 2)
    os.close(writing)
    yield
    os.dup2(kept, 2)
    os.close(kept)


@pytest.mark.usefixtures("_nobody_reads")
def test_it_goes_on_when_nobody_reads_what_it_tells() -> None:
    duty = Duty(*(ValueError(number) for number in range(3)))
    _run(duty, lambda: duty.times >= 5)


def test_it_goes_on_when_telling_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise UnicodeEncodeError("utf-8", "", 0, 1, "of a text that cannot be written")

    monkeypatch.setattr("ml_lifecycle.api.json_log.write", fail)
    duty = Duty(ValueError("x"))
    _run(duty, lambda: duty.times >= 3)
