"""One call of the service, as its prediction log keeps it: what was asked, what was answered, and by which model."""

from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec


class Entry(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """The answers that one request got.

    An array on the wire, without the names of its fields: a later version of this class may only add fields at the
    end, with defaults, so that it reads what an earlier one left behind.

    Attributes:
        request_ids: one for each row, ``<yyyymmdd>-<32 hex>``; the log is filed by the day in them.
        keys: for each row the key of what was asked about, None where it has none.
        probabilities: of the positive class, one for each row.
        decisions: the label for each row.
        model_name: as registered.
        model_version: the number of the version.
        model_digest: SHA-256 of the model.
        threshold: the probability from which on the positive label is decided for.
        scored_at: microseconds since 1970, UTC.
        protocol: which of the service's protocols the request spoke.
        correlation_id: the caller's own id of the request, if it sent one.
        form: how ``inputs`` holds the rows: an object or an array of objects, or an object of arrays by column.
        inputs: what was asked, JSON in UTF-8.
    """

    request_ids: list[str]
    keys: list[str | None]
    probabilities: list[float]
    decisions: list[str]
    model_name: str
    model_version: str
    model_digest: str
    threshold: float
    scored_at: int
    protocol: Literal["predict", "invocations", "v2"]
    correlation_id: str | None
    form: Literal["records", "columns"]
    inputs: bytes

    @property
    def scored(self) -> datetime:
        """When it was answered.

        Raises:
            OverflowError: not within the years that a datetime can be in.
        """
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.scored_at)

    def inputs_by_row(self) -> list[str]:
        """Split the inputs into one JSON object for each row, every value as it was written.

        Raises:
            ValueError: they are not what ``form`` says, or of another number of rows.
        """
        rows = _of_columns(self.inputs) if self.form == "columns" else _of_records(self.inputs)
        if len(rows) != len(self.request_ids):
            raise ValueError(f"inputs of {len(rows)} rows for {len(self.request_ids)} answers")
        return [row.decode() for row in rows]


_RECORD = msgspec.json.Decoder(msgspec.Raw)
_RECORDS = msgspec.json.Decoder(list[msgspec.Raw])
_COLUMNS = msgspec.json.Decoder(dict[str, list[msgspec.Raw]])
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Entry)


def _of_records(inputs: bytes) -> list[bytes]:
    found = _RECORDS.decode(inputs) if inputs.lstrip()[:1] == b"[" else [_RECORD.decode(inputs)]
    return [bytes(row) for row in found]


def _of_columns(inputs: bytes) -> list[bytes]:
    columns = {msgspec.json.encode(name): values for name, values in _COLUMNS.decode(inputs).items()}
    rows = zip(*columns.values(), strict=True)
    return [
        b"{%b}" % b",".join(b"%b:%b" % (name, bytes(value)) for name, value in zip(columns, row, strict=True))
        for row in rows
    ]


def encode_into(entry: Entry, buffer: bytearray, start: int) -> None:
    """Write an entry (MessagePack) into a buffer from a position on; the buffer then ends with it."""
    _ENCODER.encode_into(entry, buffer, start)


def encode(entry: Entry) -> bytes:
    """Turn an entry into bytes (MessagePack)."""
    return _ENCODER.encode(entry)


def decode(content: bytes | memoryview) -> Entry:
    """Turn bytes into an entry again.

    Raises:
        msgspec.MsgspecError: they are none.
    """
    return _DECODER.decode(content)
