"""Callers who keep a service busy, as processes of their own; and whether what they were told fits together.

``python tests/load.py PORT NAME CONNECTIONS KEPT FILE`` asks until its standard input ends, or until no connection is
taken any more; then it waits for the answers that are due, and writes all of it to the file. It prints a line when each
connection has had an answer. If ``KEPT`` is 0, each request has a connection of its own; else they are kept for as long
as the service keeps them.
"""

import asyncio
import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import uvloop

HOST = "127.0.0.1"
#: How often a request has so many rows, in the form of a list; 0 is a single record.
SIZES = {0: 80, 1: 9, 3: 9, 50: 2}
#: Seconds after which an answer counts as not given.
PATIENCE = 30.0
LABELS = ("no", "yes")
_END_OF_HEAD = b"\r\n\r\n"


class Exchange(msgspec.Struct, array_like=True, gc=False):
    """A request and its answer, as they were on the wire; ``rows`` are the records of the body."""

    name: str
    rows: list[str]
    single: bool
    head: bytes
    body: bytes
    seconds: float


class Failure(msgspec.Struct, array_like=True, gc=False):
    """A request that got no answer; ``before`` it, so many were answered on its connection."""

    rows: list[str]
    before: int
    reason: str


class Told(msgspec.Struct):
    """What callers have to tell; ``refused`` are connections that were not taken, ``opened`` those that were."""

    exchanges: list[Exchange] = []
    failures: list[Failure] = []
    refused: int = 0
    opened: int = 0

    def __add__(self, other: "Told") -> "Told":
        """Together."""
        return Told(
            self.exchanges + other.exchanges,
            self.failures + other.failures,
            self.refused + other.refused,
            self.opened + other.opened,
        )


def key(name: str, row: int) -> str:
    """The key of a row of a request."""
    return f"{name}.{row}"


@dataclass
class Caller:
    """Asks over several connections at once."""

    port: int
    name: str
    connections: int
    is_kept: bool
    told: Told = field(default_factory=Told)
    is_ending: bool = False
    waiting: int = 0

    async def call(self) -> None:
        """Ask until the standard input ends."""
        self.waiting = self.connections
        asking = [asyncio.create_task(self._keep_asking(number)) for number in range(self.connections)]
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        await reader.read()
        self.is_ending = True
        await asyncio.gather(*asking)

    async def _keep_asking(self, number: int) -> None:
        count = 0
        while not self.is_ending:
            try:
                reader, writer = await asyncio.open_connection(HOST, self.port)
            except ConnectionRefusedError:
                self.told.refused += 1
                return
            except OSError as error:
                self.told.failures.append(Failure([], 0, f"no connection: {error!r}"))
                return
            self.told.opened += 1
            count = await self._ask_over(reader, writer, f"{self.name}-{number}", count)
            with contextlib.suppress(OSError):
                writer.close()

    async def _ask_over(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str, count: int) -> int:
        """Ask over one connection until it is to be closed; return the number of requests so far."""
        before = 0
        while not self.is_ending:
            size = random.choices(list(SIZES), list(SIZES.values()))[0]
            count += 1
            request = f"{name}-{count}"
            rows = [_row(key(request, row)) for row in range(size or 1)]
            started = time.perf_counter()
            try:
                async with asyncio.timeout(PATIENCE):
                    writer.write(self._request(request, rows, size))
                    head = await reader.readuntil(_END_OF_HEAD)
                    body = await reader.readexactly(_length(head))
            except (OSError, EOFError) as error:
                self.told.failures.append(Failure(rows, before, repr(error)))
                return count
            before += 1
            if head.startswith(b"HTTP/1.1 200 "):
                seconds = time.perf_counter() - started
                self.told.exchanges.append(Exchange(request, rows, not size, head, body, seconds))
            else:
                self.told.failures.append(Failure(rows, before, f"{head.decode()}{body.decode()}"))
            if count == 1:
                self._tell_answered()
            if not self.is_kept or b"\r\nconnection: close\r\n" in head:
                break
        return count

    def _tell_answered(self) -> None:
        self.waiting -= 1
        if not self.waiting:
            print("every connection had an answer", flush=True)  # noqa: T201 - to whoever started this process

    def _request(self, name: str, rows: list[str], size: int) -> bytes:
        body = f"[{','.join(rows)}]" if size else rows[0]
        end = "" if self.is_kept else "Connection: close\r\n"
        return (
            f"POST /predict HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n{end}"
            f"X-Request-ID: {name}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


def _row(name: str) -> str:
    return f'{{"share":{random.random()!r},"carrier":"UA","row_key":"{name}"}}'


def _length(head: bytes) -> int:
    return int(head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])


# In the process that starts it


@dataclass
class Load:
    """Callers that are asking; what they have to tell is there once they have ended."""

    folder: Path
    port: int
    processes: int = 2
    connections: int = 8
    is_kept: bool = True
    _callers: "list[tuple[subprocess.Popen[bytes], Path]]" = field(default_factory=list)

    def start(self) -> None:
        """Begin, and wait until every connection has had an answer."""
        for number in range(self.processes):
            file = self.folder / f"told-{number}"
            given = [str(self.port), f"c{number}", str(self.connections), str(int(self.is_kept)), str(file)]
            command = [sys.executable, __file__, *given]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._callers.append((process, file))
        for process, _ in self._callers:
            assert process.stdout is not None
            assert process.stdout.readline(), "a caller ended before it was answered"

    def end(self) -> Told:
        """Let nobody ask any more, and hear what they have to tell."""
        for process, _ in self._callers:
            assert process.stdin is not None
            process.stdin.close()
        told = Told()
        for process, file in self._callers:
            assert process.stdout is not None
            process.stdout.close()
            assert process.wait(2 * PATIENCE) == 0
            told += msgspec.msgpack.decode(file.read_bytes(), type=Told)
        self._callers = []
        return told

    def kill(self) -> None:
        """End those that are still there."""
        for process, _ in self._callers:
            process.kill()
            process.wait()


@contextmanager
def load(folder: Path, port: int, processes: int = 2, connections: int = 8, *, is_kept: bool = True) -> Iterator[Load]:
    """Let callers ask; whoever uses it ends them and hears what they have to tell."""
    asking = Load(folder, port, processes, connections, is_kept)
    try:
        asking.start()
        yield asking
    finally:
        asking.kill()


class Version(msgspec.Struct, frozen=True):
    """What belongs together."""

    name: str
    number: str
    digest: str
    threshold: float


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one row was asked and answered, as its caller and as the prediction log should know it."""

    request_id: str
    key: str
    inputs: str
    probability: float
    decision: str
    version: str
    digest: str
    threshold: float
    correlation_id: str


@dataclass
class Answers:
    """What was answered to the exchanges, and in which of them something does not fit together."""

    rows: list[Row] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)


def answers(exchanges: list[Exchange], versions: dict[str, Version]) -> Answers:
    """Take the answers apart, and compare all that they say with the one version that they are to be of.

    Args:
        exchanges: with the answers.
        versions: those that may answer, by number.
    """
    found = Answers()
    for exchange in exchanges:
        answer = msgspec.json.decode(exchange.body)
        each = [answer] if exchange.single else answer["predictions"]
        version = versions.get(answer["model"]["version"])
        if version is None or len(each) != len(exchange.rows):
            found.wrong.append(f"{exchange.name}: {exchange.body!r}")
            continue
        found.versions.append(version.number)
        if problem := _problem(exchange, answer, each, version):
            found.wrong.append(f"{exchange.name}: {problem}: {exchange.head!r} {exchange.body!r}")
        found.rows += [
            Row(
                one["request_id"],
                key(exchange.name, number),
                asked,
                one["probability"],
                one["decision"],
                version.number,
                answer["model"]["digest"],
                answer["threshold"],
                exchange.name,
            )
            for number, (asked, one) in enumerate(zip(exchange.rows, each, strict=True))
        ]
    return found


def _problem(exchange: Exchange, answer: dict, each: list[dict], version: Version) -> str | None:  # type: ignore[type-arg]
    """Tell what does not belong to the version, or is not the answer to what was asked."""
    belongs = {"name": version.name, "version": version.number, "digest": version.digest}
    if (answer["model"], answer["threshold"]) != (belongs, version.threshold):
        return "the body mixes versions"
    facts = {
        "x-model-name": version.name,
        "x-model-version": version.number,
        "x-model-digest": version.digest,
        "x-threshold": repr(version.threshold),
        "x-prediction-id": each[0]["request_id"],
        "x-request-id": exchange.name,
    }
    if exchange.single:
        facts |= {"x-probability": repr(each[0]["probability"]), "x-decision": each[0]["decision"]}
    lines = exchange.head.decode().split("\r\n")
    if missing := [f"{name}: {value}" for name, value in facts.items() if f"{name}: {value}" not in lines]:
        return f"a header says something else than {missing}"
    for row, one in zip(exchange.rows, each, strict=True):
        if one["probability"] != float(np.float32(msgspec.json.decode(row)["share"])):
            return f"another row's probability for {row}"
        if one["decision"] != LABELS[one["probability"] >= version.threshold]:
            return "the decision is that of another threshold"
    return None


def percentiles(exchanges: list[Exchange]) -> tuple[float, float]:
    """The median and the 99th percentile of the time to an answer, as callers see it, in milliseconds."""
    p50, p99 = np.percentile([exchange.seconds for exchange in exchanges], [50, 99])
    return 1000 * p50, 1000 * p99


if __name__ == "__main__":
    caller = Caller(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), bool(int(sys.argv[4])))
    uvloop.run(caller.call())
    Path(sys.argv[5]).write_bytes(msgspec.msgpack.encode(caller.told))
