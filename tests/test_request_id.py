"""The names of answers."""

import hashlib
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_lifecycle import request_id

DIGEST, NOON = "ab" * 32, datetime(2013, 12, 1, 12, tzinfo=UTC)
GOOD = "20131201-0123456789abcdef0123456789abcdef"


def test_is_what_the_module_says() -> None:
    """Day and first half of SHA-256 over digest, time and key; other programs may compute it from these."""
    half = hashlib.sha256(f"{DIGEST}\n2013-12-01T12:00:00+00:00\nflight 1".encode()).hexdigest()[:32]
    assert [f"20131201-{half}"] == request_id.of_rows(DIGEST, NOON, ["flight 1"])


@pytest.mark.parametrize(
    ("digest", "scored_at", "key"),
    [
        ("cd" * 32, NOON, "a"),
        (DIGEST, NOON + timedelta(microseconds=1), "a"),
        (DIGEST, NOON + timedelta(days=1), "a"),
        (DIGEST, NOON, "b"),
        (DIGEST, NOON, "a\n"),
        (DIGEST, NOON, ""),
    ],
)
def test_every_part_counts(digest: str, scored_at: datetime, key: str) -> None:
    """Another model, time or key makes another id, in its digest too."""
    (one,), (other,) = request_id.of_rows(DIGEST, NOON, ["a"]), request_id.of_rows(digest, scored_at, [key])
    assert one.partition("-")[2] != other.partition("-")[2]


@pytest.mark.parametrize(
    "same", [NOON.astimezone(timezone(timedelta(hours=14))), pd.Timestamp(NOON), pd.Timestamp(NOON).as_unit("us")]
)
def test_a_moment_is_the_same_everywhere(same: datetime) -> None:
    """Time zone and type of the time do not matter; the day is that of UTC."""
    assert request_id.of_rows(DIGEST, NOON, ["a"]) == request_id.of_rows(DIGEST, same, ["a"])


@given(st.lists(st.text(st.characters(codec="utf-8")), unique=True), st.datetimes(timezones=st.just(UTC)))
def test_ids_are_unique_and_well_formed(keys: list[str], scored_at: datetime) -> None:
    """As many ids as keys, in their order, each of the form that it should have and of the day that it says."""
    ids = request_id.of_rows(DIGEST, scored_at, keys)
    assert len(keys) == len(ids) == len(set(ids))
    assert ids == [request_id.of_rows(DIGEST, scored_at, [key])[0] for key in keys]
    assert [scored_at.date()] * len(keys) == [request_id.day_of(name) for name in ids]


@given(st.integers(0, 50), st.datetimes(timezones=st.just(UTC)))
def test_ids_of_a_service_are_well_formed_and_of_their_day(count: int, moment: datetime) -> None:
    """As many ids as rows, unique, each of the form of all ids and of the day, in UTC, that it says."""
    ids = request_id.of_answers(moment, count)
    assert count == len(ids) == len(set(ids))
    assert [moment.date()] * count == [request_id.day_of(name) for name in ids]


def test_ids_of_a_service_end_with_the_number_of_the_row() -> None:
    """One request has one name, and its rows count from 0."""
    ids = request_id.of_answers(NOON, 300)
    assert 1 == len({name[:-8] for name in ids})
    assert list(range(300)) == [int(name[-8:], 16) for name in ids]


def test_ids_of_a_service_never_come_again() -> None:
    """The same rows asked about again at the same moment have other names, which differ in every digit's place."""
    names = {request_id.of_answers(NOON, 1)[0] for _ in range(1000)}
    assert 1000 == len(names)
    assert [16] * 24 == [len(set(digits)) for digits in zip(*(name[9:33] for name in names), strict=True)]


@pytest.mark.parametrize(("hours", "day"), [(14, 30), (-12, 1)])
def test_the_day_of_a_service_is_that_of_utc(hours: int, day: int) -> None:
    """Whatever the wall clock shows where it runs."""
    midnight = datetime(2013, 12, 1, tzinfo=timezone(timedelta(hours=hours)))
    assert day == request_id.day_of(request_id.of_answers(midnight, 1)[0]).day


def test_day_and_folder() -> None:
    """The day of an id names the folder in which its answer lies."""
    assert date(2013, 12, 1) == request_id.day_of(GOOD)
    assert "date=2013-12-01" == request_id.folder_of(request_id.day_of(GOOD))


@pytest.mark.parametrize(
    "text",
    [
        "", "20131201", GOOD[:-1], GOOD + "0", GOOD + "\n", " " + GOOD, GOOD.upper(), GOOD.replace("-", "_"),
        GOOD.replace("f", "g"), GOOD.replace("20131201", "2013-12-01"), GOOD.replace("20131201", "20131301"),
        GOOD.replace("20131201", "20130229"), GOOD.replace("20131201", "00000101"), GOOD.replace("1201", "١٢٠١"),
    ],
)  # fmt: skip
def test_refuses_other_texts(text: str) -> None:
    """A text of another form, or whose day does not exist, is no id."""
    assert request_id.is_well_formed(GOOD)
    assert not request_id.is_well_formed(text)
    with pytest.raises(ValueError, match=r"no request id|month|day|year"):
        request_id.day_of(text)


def test_needs_no_tables() -> None:
    """A service that answers one request at a time can name its answers without pandas."""
    code = "import sys, ml_lifecycle.request_id; print({'pandas', 'numpy', 'pyarrow'} & {*sys.modules})"
    assert "set()\n" == subprocess.check_output([sys.executable, "-c", code], text=True)
