"""What is written to a connection arrives as it is, in fewer pieces."""

import asyncio
from typing import Any, cast

from ml_lifecycle.api.joined_transport import JoinedTransport

HEAD, BODY = b"HTTP/1.1 200 OK\r\n\r\n", b"body"


class Recorder:
    """A transport that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def write(self, content: bytes) -> None:
        """Note it."""
        self.told.append(content)

    def close(self) -> None:
        """Note it."""
        self.told.append("closed")

    def is_closing(self) -> bool:
        """As told."""
        return "closed" in self.told


def _both() -> tuple[JoinedTransport, Recorder]:
    recorder = Recorder()
    return JoinedTransport(cast("asyncio.Transport", recorder)), recorder


def test_head_and_body_are_one_write() -> None:
    joined, recorder = _both()
    for _ in range(2):
        joined.write(HEAD)
        joined.write(BODY)
    assert recorder.told == [HEAD + BODY] * 2


def test_what_follows_a_body_is_written_as_it_comes() -> None:
    joined, recorder = _both()
    for content in (HEAD, b"a", b"b", b"c"):
        joined.write(content)
    assert recorder.told == [HEAD + b"a", b"b", b"c"]


def test_a_head_without_a_body_is_written_once_it_is_known_that_none_comes() -> None:
    joined, recorder = _both()
    joined.write(HEAD)
    assert recorder.told == []
    joined.flush()
    joined.flush()
    assert recorder.told == [HEAD]


def test_a_head_is_written_before_the_end() -> None:
    joined, recorder = _both()
    joined.write(HEAD)
    joined.close()
    assert recorder.told == [HEAD, "closed"]
    assert joined.is_closing()


def test_an_interim_answer_does_not_wait() -> None:
    joined, recorder = _both()
    joined.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert recorder.told == [b"HTTP/1.1 100 Continue\r\n\r\n"]
