"""Entries of the prediction log: nothing of what was asked and answered changes on the way."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import log_writer
from ml_lifecycle.api import log_entry
from ml_lifecycle.api.log_entry import Entry

#: Any text that UTF-8 can hold.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ENTRIES = st.builds(
    Entry,
    request_ids=st.lists(TEXTS),
    keys=st.lists(st.none() | TEXTS),
    probabilities=st.lists(st.floats(allow_nan=False)),
    decisions=st.lists(TEXTS),
    model_name=TEXTS,
    model_version=TEXTS,
    model_digest=TEXTS,
    threshold=st.floats(allow_nan=False),
    scored_at=st.integers(0, 2**62),
    protocol=st.sampled_from(["predict", "invocations", "v2"]),
    correlation_id=st.none() | TEXTS,
    form=st.sampled_from(["records", "columns"]),
    inputs=st.binary(),
)


@given(ENTRIES)
def test_an_entry_comes_back_as_it_was(entry: Entry) -> None:
    """Whatever an entry holds, it is read back equal, to the last bit of each number."""
    assert entry == log_entry.decode(log_entry.encode(entry))


@given(ENTRIES, ENTRIES)
def test_a_buffer_ends_with_what_was_written_last(long: Entry, short: Entry) -> None:
    """The buffer is used again for each entry, shorter ones too."""
    buffer = bytearray()
    for entry in (long, short, long):
        log_entry.encode_into(entry, buffer, 5)
        assert entry == log_entry.decode(memoryview(buffer)[5:])


def test_an_entry_of_an_earlier_version_is_read() -> None:
    """A field that a later version adds at the end, with a default, is no obstacle in either direction."""

    class Later(Entry, array_like=True, gc=False, frozen=True):
        region: str = "here"

    entry = log_writer.entry()
    assert "here" == msgspec.msgpack.decode(log_entry.encode(entry), type=Later).region
    later = Later(**{name: getattr(entry, name) for name in Entry.__struct_fields__}, region="there")
    assert entry == log_entry.decode(msgspec.msgpack.encode(later))


@given(st.lists(st.dictionaries(TEXTS, VALUES), min_size=1), st.sampled_from([None, 2]), st.booleans())
def test_records_are_split_as_they_were_written(rows: list[dict[str, object]], indent: int, ascii_only: bool) -> None:
    """Each row gets its own object, with the spaces and the spelling of the request."""
    written = [json.dumps(row, indent=indent, ensure_ascii=ascii_only) for row in rows]
    entry = log_writer.entry(rows=len(rows), inputs=f" [\n{' , '.join(written)}]\n".encode())
    assert written == entry.inputs_by_row()


@given(st.dictionaries(TEXTS, VALUES))
def test_one_record_is_its_own_row(row: dict[str, object]) -> None:
    """The body of a request for one row is an object."""
    assert [json.dumps(row)] == log_writer.entry(inputs=f"\r\n{json.dumps(row)} ".encode()).inputs_by_row()


@given(st.data())
def test_columns_are_split_by_row(data: st.DataObject) -> None:
    """Each row is an object of its values by name."""
    names = data.draw(st.lists(TEXTS, min_size=1, max_size=4, unique=True))
    rows = data.draw(st.lists(st.fixed_dictionaries(dict.fromkeys(names, VALUES)), min_size=1, max_size=4))
    body = {name: [row[name] for row in rows] for name in names}
    entry = log_writer.entry(rows=len(rows), form="columns", inputs=json.dumps(body).encode())
    assert rows == [json.loads(row) for row in entry.inputs_by_row()]


def test_numbers_keep_their_digits() -> None:
    """Numbers are not read, so that none is rounded."""
    digits = b"[12345678901234567890123, 0.10, 1E5, -0.0, 0.1000000000000000055511151231257827]"
    entry = log_writer.entry(form="columns", rows=5, inputs=b'{"n": %b}' % digits)
    assert digits.decode()[1:-1].split(", ") == [row[5:-1] for row in entry.inputs_by_row()]


@pytest.mark.parametrize(
    ("form", "inputs"),
    [
        ("records", b'[{"a": 1}]'),
        ("records", b'{"a": 1}'),
        ("records", b'[{"a": 1}, {"a": 2}, {"a": 3}]'),
        ("records", b'[{"a": 1}, {"a": 2'),
        ("records", b""),
        ("records", b'[{"a": "\xff"}, {"a": 2}]'),
        ("columns", b'{"a": [1]}'),
        ("columns", b'{"a": [1, 2], "b": [1]}'),
        ("columns", b"{}"),
        ("columns", b'[{"a": 1}, {"a": 2}]'),
    ],
)
def test_inputs_of_another_form_are_refused(form: str, inputs: bytes) -> None:
    """Two answers need the inputs of two rows, in the form that is stated."""
    with pytest.raises(ValueError, match=r"inputs|Expected|truncated|invalid|malformed|shorter|decode"):
        log_writer.entry(rows=2, form=form, inputs=inputs).inputs_by_row()
