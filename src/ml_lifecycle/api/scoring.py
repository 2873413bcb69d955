"""From a request to its answer, whatever the protocol: the model answers, the answer is logged, then it is given."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Literal

from ml_lifecycle import request_id
from ml_lifecycle.api import json_log
from ml_lifecycle.api.answer import Answer
from ml_lifecycle.api.batcher import Probabilities
from ml_lifecycle.api.call import Call
from ml_lifecycle.api.log_entry import Entry
from ml_lifecycle.api.log_segments import LogError, Segments
from ml_lifecycle.api.measurements import Measurements
from ml_lifecycle.api.problems import RETRY, Problem
from ml_lifecycle.api.served_model import Array, ServedModel
from ml_lifecycle.api.slot import Serving, Slot

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

Protocol = Literal["predict", "invocations", "v2"]
Form = Literal["records", "columns"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the log keeps it: ``inputs`` are JSON, in the form of records or of columns; a key for each row."""

    protocol: Protocol
    form: Form
    inputs: bytes
    keys: list[str | None]


class Scoring:
    """What all protocols answer by."""

    def __init__(self, slot: Slot, segments: Segments, measurements: Measurements, *, refuse_when_full: bool) -> None:
        self.slot = slot
        self._segments, self._measurements, self._refuse = segments, measurements, refuse_when_full
        self._is_losing = False

    async def of_records(self, serving: Serving, body: bytes, call: Call) -> tuple[Answer, bool]:
        """Answer the records in a body.

        Returns:
            The answer, and whether it is to a single record.

        Raises:
            Problem: 422, the body holds no records; 503, too much is waiting.
        """
        records, single = serving.model.records.decode(body)
        probabilities = await serving.batcher.answer(records)
        asked = Asked("predict", "records", body, serving.model.records.keys(records))
        return self._given(serving.model, probabilities, asked, call), single

    async def of_features(
        self, serving: Serving, computed: dict[str, Array], call: Call, protocol: Protocol, inputs: bytes
    ) -> Answer:
        """Answer rows of features; ``inputs`` are the same as JSON, by column.

        Raises:
            Problem: 503, too much is waiting.
        """
        rows = len(next(iter(computed.values())))
        probabilities = await serving.batcher.answer_features(computed, rows)
        return self._given(serving.model, probabilities, Asked(protocol, "columns", inputs, [None] * rows), call)

    def _given(self, model: ServedModel, probabilities: Probabilities, asked: Asked, call: Call) -> Answer:
        values: list[float] = probabilities.tolist()
        if not all(0.0 <= value <= 1.0 for value in values):  # NaN is neither
            raise _without_answer(values)
        moment = datetime.now(UTC)
        ids = request_id.of_answers(moment, len(values))
        decisions = model.decide(values)
        self._log(
            Entry(
                ids,
                asked.keys,
                values,
                decisions,
                model.name,
                model.version,
                model.model.digest,
                model.model.threshold,
                (moment - EPOCH) // MICROSECOND,
                asked.protocol,
                call.correlation_id,
                asked.form,
                asked.inputs,
            )
        )
        call.request_id, call.version, call.rows = ids[0], model.version, len(ids)
        self._measurements.answers(model.version, values, call.seconds())
        return Answer(model, ids, values, decisions)

    def _log(self, entry: Entry) -> None:
        """Append an answer to the prediction log before it is given.

        Raises:
            Problem: 503, it has no room, and answers that are not logged are not wanted.
        """
        try:
            self._segments.append(entry)
        except LogError as error:
            if self._refuse:
                raise Problem(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "The answer cannot be logged, and none is given that is not (API_LOG_WHEN_FULL=refuse). Whoever "
                    "runs this service finds the reason in its log.",
                    [],
                    RETRY,
                ) from error
            self._measurements.unlogged(len(entry.request_ids))
            if not self._is_losing:
                json_log.write("error", "answers are given that are not logged", reason=error.message)
            self._is_losing = True
            return
        self._is_losing = False


def _without_answer(probabilities: Sequence[float]) -> Problem:
    rows = [number for number, probability in enumerate(probabilities) if not 0.0 <= probability <= 1.0]
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"The model has no answer for {len(rows)} of {len(probabilities)} rows, the first being row {rows[0]}, counted "
        f"from 0: it gave {probabilities[rows[0]]}, which is no probability. Is a value missing there that it cannot "
        "do without? Nothing was answered.",
        [{"path": f"$[{row}]", "message": "the model has no answer"} for row in rows[:10]],
    )
