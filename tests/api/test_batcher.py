"""Requests that arrive together are answered together, each with what is its own."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

import candidates
from ml_lifecycle.api.batcher import ROWS_AT_ONCE, ROWS_FOR_A_THREAD, Batcher
from ml_lifecycle.api.problems import Problem
from ml_lifecycle.api.records import Records
from ml_lifecycle.api.served_model import ServedModel
from ml_lifecycle.onnx_model import OnnxModel

RECORDS = Records(candidates.ROLES, 10_000)


class Watched(OnnxModel):
    """A model that notes how many rows it is asked for at a time."""

    def predict(self, columns: Any) -> npt.NDArray[np.float32]:
        """Note, and answer."""
        self.__dict__.setdefault("calls", []).append(len(columns["share"]))
        return super().predict(columns)

    @property
    def calls(self) -> list[int]:
        """The rows of each call."""
        return list(self.__dict__.get("calls", []))


def _run(
    work: Callable[[Batcher], Coroutine[Any, Any, Any]],
    max_waiting_rows: int = 10_000,
    *,
    model: OnnxModel | None = None,
) -> tuple[Any, list[int]]:
    watched = model or Watched(candidates.small_model().content)

    async def main() -> Any:
        with ThreadPoolExecutor(1) as executor:
            served = ServedModel("m", "1", watched, RECORDS, {}, "3")
            return await work(Batcher(served, executor, max_waiting_rows))

    found = asyncio.run(main())
    return found, watched.calls if isinstance(watched, Watched) else []


def _records(shares: Sequence[float]) -> list[msgspec.Struct]:
    rows = [{"share": share, "carrier": "UA"} for share in shares]
    return RECORDS.decode(msgspec.json.encode(rows))[0]


def test_requests_of_one_turn_are_one_call_and_each_gets_its_own_rows() -> None:
    sizes = [1, 3, 1, 2]
    shares = [np.linspace(number, number + 0.5, size, dtype=np.float32).tolist() for number, size in enumerate(sizes)]

    async def work(batcher: Batcher) -> list[list[float]]:
        answers = await asyncio.gather(*(batcher.answer(_records(some)) for some in shares))
        return [answer.tolist() for answer in answers]

    found, calls = _run(work)
    assert found == shares
    assert calls == [sum(sizes)]


def test_a_call_has_no_more_rows_than_are_good_for_it() -> None:
    async def work(batcher: Batcher) -> list[Any]:
        return await asyncio.gather(*(batcher.answer(_records([number / 200] * 3)) for number in range(100)))

    found, calls = _run(work)
    assert [answer.tolist() for answer in found] == [[float(np.float32(number / 200))] * 3 for number in range(100)]
    assert sum(calls) == 300
    assert max(calls) <= ROWS_AT_ONCE


def test_a_large_request_is_a_call_of_its_own_in_a_thread() -> None:
    large = np.linspace(0, 1, ROWS_FOR_A_THREAD + 10, dtype=np.float32).tolist()

    async def work(batcher: Batcher) -> list[Any]:
        return await asyncio.gather(batcher.answer(_records([0.5])), batcher.answer(_records(large)))

    found, calls = _run(work)
    assert found[1].tolist() == large
    assert sorted(calls) == [1, len(large)]


def test_beyond_the_bound_a_request_is_refused_and_the_others_are_answered() -> None:
    async def work(batcher: Batcher) -> list[Any]:
        large = _records([0.5] * 60)
        return await asyncio.gather(*(batcher.answer(large) for _ in range(3)), return_exceptions=True)

    found, _ = _run(work, max_waiting_rows=120)
    refused = [answer for answer in found if isinstance(answer, Problem)]
    assert [problem.status.value for problem in refused] == [503]
    assert "API_MAX_WAITING_ROWS" in refused[0].detail
    assert [len(answer) for answer in found if not isinstance(answer, Problem)] == [60, 60]


def test_after_that_there_is_room_again() -> None:
    async def work(batcher: Batcher) -> list[Any]:
        return [await batcher.answer(_records([0.5] * 60)) for _ in range(5)]

    assert len(_run(work, max_waiting_rows=60)[0]) == 5


def test_a_failure_of_the_model_reaches_every_caller_of_that_turn() -> None:
    class Broken(OnnxModel):
        def predict(self, columns: Any) -> npt.NDArray[np.float32]:
            raise RuntimeError("broken")

    async def work(batcher: Batcher) -> list[Any]:
        return await asyncio.gather(
            *(batcher.answer(_records([0.5] * rows)) for rows in (1, 2, 60)), return_exceptions=True
        )

    found, _ = _run(work, model=Broken(candidates.small_model().content))
    assert [str(error) for error in found] == ["broken"] * 3


def test_a_caller_that_goes_away_takes_no_answer_of_others() -> None:
    async def work(batcher: Batcher) -> float:
        gone = asyncio.create_task(batcher.answer(_records([0.1])))
        stays = asyncio.create_task(batcher.answer(_records([0.75])))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return float((await stays)[0])

    assert _run(work)[0] == 0.75
