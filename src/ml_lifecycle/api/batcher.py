"""Requests that arrive together are answered by one call of the model.

What arrives within one turn of the event loop is put together, with no waiting: a model takes little longer for four
rows than for one. The answer comes one turn later, because in the same turn the requests beside the first are not read
yet. Each row's answer is the same to the bit, alone or among others (tests/parity.py). For larger requests the model is
called in a thread, while the loop reads the next ones.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from http import HTTPStatus

import msgspec
import numpy as np
import numpy.typing as npt

from ml_lifecycle.api.problems import RETRY, Problem
from ml_lifecycle.api.served_model import Array, ServedModel

Probabilities = npt.NDArray[np.float32]
Waiting = tuple[Sequence[msgspec.Struct], "asyncio.Future[Probabilities]"]
#: Rows from which a thread is worth its while: handing over costs about what this many rows do.
ROWS_FOR_A_THREAD = 32
#: Rows of small requests that are answered by one call.
ROWS_AT_ONCE = 64


class Batcher:
    """Answers the requests to one model."""

    def __init__(self, model: ServedModel, executor: Executor, max_waiting_rows: int) -> None:
        self._model, self._executor, self._max_waiting = model, executor, max_waiting_rows
        self._loop = asyncio.get_running_loop()
        self._together: list[Waiting] = []
        self._waiting = 0

    async def answer(self, records: Sequence[msgspec.Struct]) -> Probabilities:
        """Return the probability for each record.

        Raises:
            Problem: 503, too many rows are waiting.
        """
        if len(records) >= ROWS_FOR_A_THREAD:
            return await self.answer_features(self._model.features(self._model.records.columns(records)), len(records))
        if not self._together:
            self._loop.call_soon(self._loop.call_soon, self._answer_together)
        future: asyncio.Future[Probabilities] = self._loop.create_future()
        self._together.append((records, future))
        return await future

    async def answer_features(self, computed: dict[str, Array], rows: int) -> Probabilities:
        """Return the probability for each row of features.

        Raises:
            Problem: 503, too many rows are waiting.
        """
        if rows < ROWS_FOR_A_THREAD:
            return self._model.model.predict(computed)
        if self._waiting + rows > self._max_waiting:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self._waiting} rows wait to be answered; together with these {rows} they would be more than "
                f"{self._max_waiting} (API_MAX_WAITING_ROWS). Ask again in a moment.",
                [],
                RETRY,
            )
        self._waiting += rows
        try:
            return await self._loop.run_in_executor(self._executor, self._model.model.predict, computed)
        finally:
            self._waiting -= rows

    def _answer_together(self) -> None:
        together, self._together = self._together, []
        first = 0
        while first < len(together):
            last, rows = first, 0
            while last < len(together) and (last == first or rows + len(together[last][0]) <= ROWS_AT_ONCE):
                rows += len(together[last][0])
                last += 1
            self._answer_some(together[first:last])
            first = last

    def _answer_some(self, some: list[Waiting]) -> None:
        records = some[0][0] if len(some) == 1 else [record for one, _ in some for record in one]
        try:
            found = self._model.model.predict(self._model.features(self._model.records.columns(records)))
        except Exception as error:  # noqa: BLE001 - it is each caller's to hear of it
            for _, future in some:
                if not future.done():
                    future.set_exception(error)
            return
        first = 0
        for one, future in some:
            last = first + len(one)
            if not future.done():  # a caller may have gone
                future.set_result(found[first:last])
            first = last
