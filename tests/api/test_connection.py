"""Callers who send nothing, too much, or little by little, or do not read, do not keep others from being served."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import psutil
import pytest

import candidates
from ml_lifecycle.api import open_files
from ml_lifecycle.api.__main__ import configuration
from ml_lifecycle.api.connection import MAX_HEAD_BYTES, PIECE_BYTES
from ml_lifecycle.api.settings import Settings
from servers import HOST, Server
from service import Service, place, running

RECORD = {"share": 0.75, "carrier": "UA"}
MOST = 40
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
MEBIBYTE = 2**20
SECONDS = 30
OFFERS = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
CHUNKED = (
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n%b\r\n"
)
FILES = open_files.SPARE_FILES + 50


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that waits for a second, and has few connections."""
    folder = tmp_path_factory.mktemp("strict")
    with running(folder, API_IDLE_SECONDS="1", API_MAX_CONNECTIONS=str(MOST)) as found:
        yield found


def _is_closed(caller: socket.socket, seconds: float = 10) -> bool:
    caller.settimeout(seconds)
    try:
        return caller.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def test_a_connection_that_sends_nothing_is_closed(strict: Service) -> None:
    with socket.create_connection((HOST, strict.port)) as caller:
        assert _is_closed(caller)


def test_a_head_that_comes_byte_by_byte_is_not_waited_for(strict: Service) -> None:
    with socket.create_connection((HOST, strict.port)) as caller:
        started = time.monotonic()
        sent = 0
        with contextlib.suppress(OSError):  # reset, or a broken pipe
            for byte in b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"a" * 1000:
                sent += caller.send(bytes([byte]))
                time.sleep(0.05)
        assert sent < 300
        assert time.monotonic() - started < 15


def test_a_connection_that_was_answered_may_ask_again_and_is_closed_only_when_idle(strict: Service) -> None:
    with socket.create_connection((HOST, strict.port)) as caller:
        for _ in range(5):
            caller.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert caller.recv(65536).startswith(b"HTTP/1.1 200")
            time.sleep(0.4)  # together longer than one wait may be
        assert _is_closed(caller)


def test_when_there_are_too_many_the_longest_waiting_one_goes_and_others_are_served(strict: Service) -> None:
    callers = [socket.create_connection((HOST, strict.port)) for _ in range(MOST * 5)]
    try:
        started = time.monotonic()
        answers = [strict.post("/predict", RECORD).status for _ in range(5)]
        assert answers == [200] * 5
        assert time.monotonic() - started < 10
        assert _is_closed(callers[0])
    finally:
        for caller in callers:
            caller.close()


def _post(content: object, headers: bytes = b"", path: bytes = b"/predict") -> bytes:
    body = json.dumps(content).encode()
    return (
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b"
        % (
            path,
            headers,
            len(body),
            body,
        )
    )


class Caller:
    """Sends bytes on a connection, and reads answers from it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=SECONDS)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next one: status, headers, body."""
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        return status, headers, self._file.read(int(headers["content-length"]))


def _send_until_closed(caller: socket.socket, content: bytes, seconds: float) -> tuple[int, bool]:
    """Send over and over without reading; tell how many bytes were taken, and whether the connection was closed."""
    caller.settimeout(0.2)
    sent, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            sent += caller.send(content[sent % len(content) :])
        except TimeoutError:
            continue
        except OSError:
            return sent, True
    return sent, False


@pytest.mark.parametrize("request_", [GET, _post([RECORD] * 500)], ids=["short", "longer than a piece"])
def test_a_caller_who_asks_on_and_on_and_does_not_read_is_neither_kept_nor_remembered(
    strict: Service, request_: bytes
) -> None:
    process = psutil.Process(strict.pid)
    with Caller(strict.port) as caller:
        caller.socket.sendall(request_)
        assert caller.answer()[0] == 200
        before = process.memory_info().rss
        _, is_closed = _send_until_closed(caller.socket, request_ * 1000, 60)
        assert is_closed
    assert process.memory_info().rss - before < 10 * MEBIBYTE
    assert strict.get("/health").status == 200
    assert not [line for line in strict.log_lines() if line["level"] == "error"]


def test_a_caller_who_asks_faster_than_is_answered_is_not_remembered_either(service: Service) -> None:
    """He reads: the connection may stay, but what he asked for ahead waits in his own buffers."""
    asked, one = 20_000, _post(RECORD)
    process = psutil.Process(service.pid)
    service.post("/predict", RECORD)
    before, grown = process.memory_info().rss, 0
    with Caller(service.port) as caller:
        sending = threading.Thread(target=caller.socket.sendall, args=(one * asked,))
        sending.start()
        for number in range(asked):
            status, _, _ = caller.answer()
            assert status == 200
            if number % 1000 == 0:
                grown = max(grown, process.memory_info().rss - before)
        sending.join()
    assert grown < 10 * MEBIBYTE


def test_requests_sent_ahead_are_all_answered_in_their_order(service: Service) -> None:
    """Short ones, many to a piece, and ones whose bodies fill several."""
    large = [RECORD] * 500
    with Caller(service.port) as caller:
        contents = [large if number % 50 == 7 else RECORD for number in range(1000)]
        requests = b"".join(
            _post(content, b"X-Request-ID: r-%d\r\n" % number) + GET for number, content in enumerate(contents)
        )
        sending = threading.Thread(target=caller.socket.sendall, args=(requests,))
        sending.start()
        for number, content in enumerate(contents):
            status, headers, body = caller.answer()
            assert (status, headers["x-request-id"]) == (200, f"r-{number}")
            assert len(json.loads(body).get("predictions", [1])) == (len(content) if content is large else 1)
            assert json.loads(caller.answer()[2]) == {"status": "ok"}
        sending.join()


def test_a_request_that_was_sent_ahead_may_take_its_time_as_any_other(strict: Service) -> None:
    """It is not closed as if it were idle, while its body is on its way."""
    request = _post(RECORD)
    with Caller(strict.port) as caller:
        caller.socket.sendall(GET + request[:-5])
        assert caller.answer()[0] == 200
        time.sleep(3)
        caller.socket.sendall(request[-5:])
        assert caller.answer()[0] == 200


def test_a_caller_who_reads_slowly_but_steadily_gets_all_of_a_long_answer(strict: Service) -> None:
    asked, request = 8, _post([RECORD] * 10_000)
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        caller.settimeout(SECONDS)
        caller.connect((HOST, strict.port))
        sending = threading.Thread(target=caller.sendall, args=(request * asked,))
        sending.start()
        read, answers, started = b"", 0, time.monotonic()
        while answers < asked:
            time.sleep(0.05)
            part = caller.recv(2**15)
            assert part, f"closed after {answers} answers"
            read = read[-100:] + part
            answers = answers + part.count(b"HTTP/1.1 200")
        sending.join()
        assert time.monotonic() - started > 5  # much longer than a caller who takes nothing is waited for


def test_a_head_within_the_limit_is_read(service: Service) -> None:
    with Caller(service.port) as caller:
        for _ in range(2):
            padding = b"X-Long: " + b"a" * (MAX_HEAD_BYTES - len(GET) - len("X-Long: \r\n")) + b"\r\n"
            request = GET[:-2] + padding + b"\r\n"
            assert len(request) == MAX_HEAD_BYTES
            caller.socket.sendall(request)
            assert caller.answer()[0] == 200


TOO_MUCH = MAX_HEAD_BYTES + 2 * PIECE_BYTES
TOO_LONG = {
    "one header": GET[:-2] + b"X-Long: " + b"a" * TOO_MUCH + b"\r\n\r\n",
    "many headers": GET[:-2] + b"a:b\r\n" * (TOO_MUCH // 5) + b"\r\n",
    "the address": b"GET /health?" + b"a" * TOO_MUCH + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a name that does not end": GET[:-2] + b"X" * TOO_MUCH,
    "a value that does not end": GET[:-2] + b"X-Long: " + b"a" * TOO_MUCH,
    "nothing": b"\r\n" * TOO_MUCH,
    "an offer": GET[:-2] + OFFERS + b"X-Long: " + b"a" * TOO_MUCH + b"\r\n\r\n",
}


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("kind", TOO_LONG)
def test_a_longer_head_is_refused_and_nothing_after_it_is_read(service: Service, kind: str, is_first: bool) -> None:
    with Caller(service.port) as caller:
        if not is_first:
            caller.socket.sendall(GET)
            assert caller.answer()[0] == 200
        caller.socket.sendall(TOO_LONG[kind] + GET)
        status, headers, body = caller.answer()
        assert (status, headers["connection"], headers["content-type"]) == (431, "close", "application/problem+json")
        assert json.loads(body)["request_id"] == headers["x-request-id"]
        assert _is_closed(caller.socket, 5)


def test_a_head_that_never_ends_is_not_read_on_and_on(service: Service) -> None:
    process = psutil.Process(service.pid)
    before = process.memory_info().rss
    with socket.create_connection((HOST, service.port)) as caller:
        caller.sendall(GET[:-2] + b"X-Long: ")
        started = time.monotonic()
        _, is_closed = _send_until_closed(caller, b"a" * MEBIBYTE, 15)
        assert is_closed
        assert time.monotonic() - started < 5
    assert process.memory_info().rss - before < 10 * MEBIBYTE


def test_a_caller_who_sends_on_when_a_head_is_refused_is_told_all_the_same(service: Service) -> None:
    """What is not read when a connection is closed makes the kernel take back what was sent."""
    with Caller(service.port) as caller:
        sending = threading.Thread(target=caller.socket.sendall, args=(GET[:-2] + b"a" * 16 * MEBIBYTE,))
        sending.start()
        sending.join()
        assert caller.answer()[0] == 431
        assert _is_closed(caller.socket, 5)
    assert service.get("/health").status == 200
    assert "Traceback" not in service.log_file.read_text(encoding="utf-8")


def test_trailers_that_never_end_are_not_read_on_and_on(service: Service) -> None:
    for trailers in (b"a: b\r\n" * 10_000, b"a" * MEBIBYTE):
        with socket.create_connection((HOST, service.port)) as caller:
            caller.sendall(CHUNKED % b"" + b"2\r\n[]\r\n0\r\n")
            started = time.monotonic()
            _, is_closed = _send_until_closed(caller, trailers, 15)
            assert is_closed
            assert time.monotonic() - started < 5


def test_a_body_in_tiny_chunks_is_no_long_head(service: Service) -> None:
    body = json.dumps([RECORD] * 1000).encode()
    assert len(body) * 6 > MAX_HEAD_BYTES
    with Caller(service.port) as caller:
        caller.socket.sendall(CHUNKED % b"" + b"".join(b"1\r\n%b\r\n" % bytes([byte]) for byte in body) + b"0\r\n\r\n")
        assert caller.answer()[0] == 200


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_request_that_offers_another_protocol_is_answered_in_this_one(service: Service, size: int) -> None:
    """As Java's client does. It is read as any other, in whatever pieces it comes, and so is what follows it."""
    requests = [
        _post(RECORD, OFFERS),
        GET[:-2] + OFFERS.replace(b"h2c", b"websocket") + b"\r\n",
        _post([RECORD] * 3, OFFERS),
        _post(RECORD),
        CHUNKED % OFFERS + b"%x\r\n%b\r\n0\r\n\r\n" % (len(json.dumps(RECORD)), json.dumps(RECORD).encode()),
    ]
    sent = b"".join(requests)
    with Caller(service.port) as caller:
        caller.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(sent), size):
            caller.socket.sendall(sent[start : start + size])
        answers = [caller.answer() for _ in requests]
    assert [status for status, _, _ in answers] == [200] * len(requests)
    assert len(json.loads(answers[2][2])["predictions"]) == 3
    assert "Unsupported upgrade" not in service.log_file.read_text(encoding="utf-8")
    assert "pip install" not in service.log_file.read_text(encoding="utf-8")


def test_an_offer_and_a_promise_to_wait_go_together(service: Service) -> None:
    request = _post(RECORD, OFFERS + b"Expect: 100-continue\r\n")
    head, _, body = request.partition(b"\r\n\r\n")
    with Caller(service.port) as caller:
        caller.socket.sendall(head + b"\r\n\r\n")
        assert caller.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.socket.sendall(body)
        assert caller.answer()[0] == 200


def test_a_tunnel_is_refused(service: Service) -> None:
    with Caller(service.port) as caller:
        caller.socket.sendall(b"CONNECT x:443 HTTP/1.1\r\nHost: localhost\r\n" + OFFERS + b"\r\n")
        assert caller.answer()[0] == 400


class LimitedService(Service):
    """A service that may open few files, and cannot change that."""

    files = FILES

    def start(self, *, until_ready: bool = True) -> None:
        """Start it."""
        assert until_ready
        limited = f"ulimit -n {self.files} && exec {sys.executable} -m ml_lifecycle.api"
        self.server = Server(["sh", "-c", limited], self.environment, self.log_file, lambda: self._is("/ready"))
        self.server.start()


@pytest.mark.parametrize("workers", [1, 2])
def test_with_fewer_files_than_connections_there_are_fewer_connections(tmp_path: Path, workers: int) -> None:
    service = LimitedService(tmp_path, candidates.keys(tmp_path), extra={"API_WORKERS": str(workers)})
    place(service.cache, service.keys)
    service.start()
    try:
        with contextlib.ExitStack() as stack:
            where = (HOST, service.port)
            callers = [stack.enter_context(socket.create_connection(where)) for _ in range(2 * workers * FILES)]
            assert [service.post("/predict", RECORD).status for _ in range(20)] == [200] * 20
            time.sleep(1)
            held = sum(not _is_closed(caller, 0.001) for caller in callers)
    finally:
        service.stop()
    assert 0 < held <= 50 * workers
    (told,) = [line for line in service.log_lines() if line["event"] == "fewer connections than set"]
    assert (told["level"], told["connections"]) == ("warning", 50)
    assert "API_MAX_CONNECTIONS=10000" in told["reason"]
    assert not [line for line in service.log_lines() if line["level"] == "error"]


def test_without_files_for_a_connection_it_does_not_start(tmp_path: Path) -> None:
    service = LimitedService(tmp_path, candidates.keys(tmp_path))
    command = f"ulimit -n {open_files.SPARE_FILES} && exec {sys.executable} -m ml_lifecycle.api"
    ended = subprocess.run(
        ["sh", "-c", command], env=service.environment, check=False, capture_output=True, text=True, timeout=SECONDS
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: There can be no connections: this process may open 200 files")
    assert "Traceback" not in ended.stderr


def test_parts_of_a_second_are_not_cut_off(tmp_path: Path) -> None:
    settings = Settings(
        model="m",
        alias="a",
        tracking_uri="http://x",
        prediction_log=str(tmp_path),
        authentication="off",
        idle_seconds=0.5,
        shutdown_seconds=0.5,
    )
    found = configuration(settings)
    assert (found.timeout_keep_alive, found.timeout_graceful_shutdown) == (1, 1)
