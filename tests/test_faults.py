"""What went wrong between this machine and its servers, told from the errors that real clients raise."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import s3fs
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.session import Session
from kedro.io import DatasetError
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from ml_lifecycle import faults
from ml_lifecycle.errors import RegistryError
from ml_lifecycle.faults import Fault

pytestmark = pytest.mark.filterwarnings("default")  # of third parties

HOST = "127.0.0.1"
STORE = "https://store.example.org:9000"
TRACKING = "https://tracking.example.org:5000"
USER, PASSWORD = "ada", "s3cret"
PATIENCE = 0.2  # seconds until a server that says nothing is given up
REFUSES = (
    "refuses what is asked with these keys ({}). Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "AWS_SESSION_TOKEN if it is set, and what the policy of this identity allows."
)
REGION = "keeps this in another region ({}). Check AWS_DEFAULT_REGION and AWS_ENDPOINT_URL."
CLOCK = "finds that this machine's clock is off ({}). Set it."
LACKS = (
    "lacks the bucket ({}). Create the buckets: `make stack-init`, on other stores `python -m ml_lifecycle.buckets`."
)
FULL = "is full ({}). Free space or raise the quota."
FAILS = "kept failing, however often it was asked ({}). Its log says more."
AWAY = "does not answer ({}). Start it, or correct AWS_ENDPOINT_URL."
NO_KEYS = "needs keys. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
TRACKING_AWAY = "does not answer ({}). Start it, or correct MLFLOW_TRACKING_URI."
TRACKING_FAILS = (
    "answers with {}, however often it is asked. Its log says more, also of its database and its artifact store."
)


class Answers(ThreadingHTTPServer):
    """A server that gives every request the same answer."""

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Handler)
        self.status, self.body = 200, b""

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.server_port}"

    def give(self, status: int, code: str | None = None) -> "Answers":
        """Answer with a status from now on, and, as object stores do, with a code."""
        self.status = status
        self.body = f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode() if code else b""
        return self


class _Handler(BaseHTTPRequestHandler):
    server: Answers

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name of the library
        """Say nothing."""


for method in ("GET", "HEAD", "POST", "PUT"):
    setattr(_Handler, f"do_{method}", _Handler._answer)


@pytest.fixture
def answers() -> Iterator[Answers]:
    """Run a server whose answer the test decides."""
    with Answers() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def nowhere() -> str:
    """Return an address where nobody listens."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return f"http://{HOST}:{listener.getsockname()[1]}"


@pytest.fixture
def silence() -> Iterator[str]:
    """Return an address where connections are taken, and nothing is said."""
    with socket.create_server((HOST, 0)) as listener:
        yield f"http://{HOST}:{listener.getsockname()[1]}"


@contextlib.contextmanager
def _talks(say: bytes) -> Iterator[str]:
    """Say the same on each connection, and close it."""
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client:
                        client.recv(65536)
                        client.sendall(say)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://{HOST}:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.fixture(autouse=True)
def _addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the addresses that the texts name, and nothing else that clients read."""
    for name in os.environ:
        if name.startswith(("AWS_", "MLFLOW_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", STORE)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", TRACKING)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")


def raised(act: Callable[[], object]) -> Exception:
    """Return what an act raises."""
    try:
        act()
    except Exception as error:  # noqa: BLE001  # whatever it is
        return error
    pytest.fail("nothing was raised")


def s3_client(url: str, key: str | None = "key") -> Any:
    """Open an object store without patience."""
    return Session().create_client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=key,
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=PATIENCE),
    )


def get(url: str) -> Exception:
    """Return the error of reading an object with botocore."""
    return raised(lambda: s3_client(url).get_object(Bucket="ml-data", Key="a"))


def search(url: str) -> Exception:
    """Return the error of asking a tracking server with MLflow's client."""
    return raised(lambda: MlflowClient(url).search_experiments())


def of_store(text: str) -> Fault:
    """Write the fault of the object store as it should be explained; it is away exactly if it does not answer."""
    return Fault("object store", f"The object store at {STORE} {text}", is_away=text.startswith("does not answer"))


def of_tracking(text: str) -> Fault:
    """Write the fault of the tracking server as it should be explained; it is away exactly if it does not answer."""
    is_away = text.startswith("does not answer")
    return Fault("tracking server", f"The tracking server at {TRACKING} {text}", is_away=is_away)


def client_error(code: str, status: int, operation: str = "PutObject") -> ClientError:
    """Make the error that botocore makes of an answer."""
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, operation)


class TestObjectStore:
    """Errors of botocore, which s3fs and DVC pass on."""

    @pytest.mark.parametrize(
        ("status", "code", "text"),
        [
            (403, "InvalidAccessKeyId", REFUSES),
            (403, "SignatureDoesNotMatch", REFUSES),
            (403, "AccessDenied", REFUSES),
            (400, "ExpiredToken", REFUSES),
            (400, "InvalidToken", REFUSES),
            (400, "InvalidTokenId", REFUSES),
            (400, "AuthorizationHeaderMalformed", REGION),
            (403, "RequestTimeTooSkewed", CLOCK),
            (404, "NoSuchBucket", LACKS),
            (400, "XMinioAdminBucketQuotaExceeded", FULL),
            (403, "QuotaExceeded", FULL),
            (507, "XMinioStorageFull", FULL),
            (507, "InsufficientStorage", FULL),
            (507, "InternalError", FULL),
            (500, "InternalError", FAILS),
            (503, "SlowDown", FAILS),
            (503, "ServiceUnavailable", FAILS),
        ],
    )
    def test_answer_with_a_code(self, answers: Answers, status: int, code: str, text: str) -> None:
        """The code of an answer decides what the text says; it is named, with what was asked."""
        error = get(answers.give(status, code).url)
        assert isinstance(error, ClientError)
        assert of_store(text.format(f"{code} in GetObject")) == faults.explain(error)

    @pytest.mark.parametrize(("status", "text"), [(502, FAILS), (507, FULL), (403, REFUSES)])
    def test_answer_without_a_code(self, answers: Answers, status: int, text: str) -> None:
        """A proxy between this machine and the store answers with a status only."""
        error = get(answers.give(status).url)
        assert of_store(text.format(f"{status} in GetObject")) == faults.explain(error)

    @pytest.mark.parametrize(("status", "text"), [(403, REFUSES), (404, LACKS)])
    def test_bucket_that_is_asked_for(self, answers: Answers, status: int, text: str) -> None:
        """Asking whether there is a bucket has no answer but a status."""
        error = raised(lambda: s3_client(answers.give(status).url).head_bucket(Bucket="ml-data"))
        assert of_store(text.format(f"{status} in HeadBucket")) == faults.explain(error)

    @pytest.mark.parametrize(
        ("status", "code"),
        [
            (404, "NoSuchKey"),
            (412, "PreconditionFailed"),
            (409, "BucketAlreadyOwnedByYou"),
            (400, "InvalidRequest"),
            (416, "InvalidRange"),
        ],
    )
    def test_answer_to_a_mistake(self, answers: Answers, status: int, code: str) -> None:
        """A store that answers as it should has no fault."""
        error = get(answers.give(status, code).url)
        assert isinstance(error, ClientError)
        assert faults.explain(error) is None

    def test_object_that_is_asked_for(self, answers: Answers) -> None:
        """An object that is not there says nothing about its bucket."""
        error = raised(lambda: s3_client(answers.give(404).url).head_object(Bucket="ml-data", Key="a"))
        assert isinstance(error, ClientError)
        assert faults.explain(error) is None

    def test_answer_that_says_nothing(self) -> None:
        """An error that holds neither code nor status is not explained."""
        assert faults.explain(ClientError({}, "PutObject")) is None

    def test_store_that_is_away(self, nowhere: str) -> None:
        """Nobody listens there."""
        error = get(nowhere)
        assert isinstance(error, EndpointConnectionError)
        assert of_store(AWAY.format("EndpointConnectionError")) == faults.explain(error)

    def test_store_that_is_silent(self, silence: str) -> None:
        """Somebody listens, and does not answer in time."""
        error = get(silence)
        assert isinstance(error, ReadTimeoutError)
        assert of_store(AWAY.format("ReadTimeoutError")) == faults.explain(error)

    def test_store_that_hangs_up(self) -> None:
        """The connection ends before an answer."""
        with _talks(b"") as url:
            error = get(url)
        assert isinstance(error, ConnectionClosedError)
        assert of_store(AWAY.format("ConnectionClosedError")) == faults.explain(error)

    def test_store_that_is_too_far_away(self) -> None:
        """There is no connection in time."""
        error = ConnectTimeoutError(endpoint_url=STORE)
        assert of_store(AWAY.format("ConnectTimeoutError")) == faults.explain(error)

    def test_no_keys(self, nowhere: str) -> None:
        """Nobody said which keys to use."""
        error = raised(lambda: s3_client(nowhere, key=None).get_object(Bucket="ml-data", Key="a"))
        assert isinstance(error, NoCredentialsError)
        assert of_store(NO_KEYS) == faults.explain(error)

    def test_wrong_call(self) -> None:
        """What botocore refuses before it asks anybody is no fault of a server."""
        error = raised(lambda: s3_client(STORE).get_object(Bucket="ml-data"))
        assert isinstance(error, ParamValidationError)
        assert faults.explain(error) is None

    def test_amazon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without an address, the store is Amazon's."""
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        fault = faults.explain(client_error("NoSuchBucket", 404))
        assert fault is not None
        assert fault.text.startswith("The object store at https://s3.amazonaws.com lacks the bucket")


def cut_off(url: str) -> Exception:
    """Return the error of reading an object with s3fs, which asks only once."""
    keys = dict.fromkeys(("key", "secret"), "key")
    files = s3fs.S3FileSystem(**keys, client_kwargs={"endpoint_url": url}, skip_instance_cache=True)
    files.retries = 1
    return raised(lambda: files.cat_file("ml-data/a", start=0, end=3))


class TestFileSystem:
    """Errors of s3fs, which turns those of botocore into Python's."""

    def test_answer_with_a_code(self, answers: Answers) -> None:
        """A refusal arrives as an error of permissions, and is explained."""
        error = cut_off(answers.give(403, "AccessDenied").url)
        assert isinstance(error, PermissionError)
        assert of_store(REFUSES.format("AccessDenied in GetObject")) == faults.explain(error)

    def test_answer_that_is_cut_off(self) -> None:
        """The connection ends in the middle of an object, each time it is asked for."""
        with _talks(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nETag: a\r\n\r\nabc") as url:
            fault = faults.explain(cut_off(url))
        assert fault is not None
        assert "object store" == fault.server


def away(url: str) -> Exception:
    """Return the error of asking with `requests`."""
    return raised(lambda: requests.get(url, timeout=PATIENCE))


class TestTrackingServer:
    """Errors of `requests` and of MLflow."""

    def test_server_that_is_away(self, nowhere: str) -> None:
        """Nobody listens there."""
        assert of_tracking(TRACKING_AWAY.format("ConnectionError")) == faults.explain(away(nowhere))

    def test_server_that_is_silent(self, silence: str) -> None:
        """Somebody listens, and does not answer in time."""
        assert of_tracking(TRACKING_AWAY.format("ReadTimeout")) == faults.explain(away(silence))

    def test_server_that_hangs_up(self) -> None:
        """The connection ends before an answer."""
        with _talks(b"") as url:
            assert of_tracking(TRACKING_AWAY.format("ConnectionError")) == faults.explain(away(url))

    @pytest.mark.parametrize("status", [500, 502, 503])
    def test_answer_with_a_status(self, answers: Answers, status: int) -> None:
        """A server that is not well says so."""
        error = raised(requests.get(answers.give(status).url, timeout=5).raise_for_status)
        assert isinstance(error, requests.HTTPError)
        assert of_tracking(TRACKING_FAILS.format(f"status {status}")) == faults.explain(error)

    def test_errors_only(self, answers: Answers) -> None:
        """A server that is asked again and again, and never gets well."""
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=Retry(total=2, status_forcelist=[503])))
            error = raised(lambda: session.get(answers.give(503).url, timeout=5))
        assert isinstance(error, requests.exceptions.RetryError)
        assert of_tracking(TRACKING_FAILS.format("errors only")) == faults.explain(error)

    @pytest.mark.parametrize("uri", [None, "", "sqlite:///mlflow.db"])
    def test_there_is_none(self, monkeypatch: pytest.MonkeyPatch, nowhere: str, uri: str | None) -> None:
        """Where runs are kept without a server, an error of `requests` is about something else."""
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
        if uri is not None:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert faults.explain(away(nowhere)) is None

    def test_mlflow_gets_errors_only(self, answers: Answers) -> None:
        """MLflow's client gives up after it has asked again."""
        error = search(answers.give(500).url)
        assert isinstance(error, MlflowException)
        assert of_tracking(TRACKING_FAILS.format("errors only")) == faults.explain(error)

    def test_mlflow_gets_an_answer_that_it_does_not_ask_again_about(self, answers: Answers) -> None:
        """An answer above 500 that is no passing trouble."""
        fault = faults.explain(search(answers.give(501).url))
        assert fault is not None
        assert fault.text.startswith(f"The tracking server at {TRACKING} answers with status 5")

    def test_mlflow_does_not_reach_it(self, nowhere: str) -> None:
        """A server that is away gives no answers, so none is told of: it must be started."""
        error = search(nowhere)
        assert isinstance(error, MlflowException)
        assert of_tracking(TRACKING_AWAY.format("ConnectionError")) == faults.explain(error)

    def test_mlflow_waits_for_it(self, silence: str) -> None:
        """A server that is silent gives no answers, so none is told of."""
        assert of_tracking(TRACKING_AWAY.format("ConnectionError")) == faults.explain(search(silence))

    @pytest.mark.parametrize("status", [400, 401, 403, 404])
    def test_answer_to_a_mistake(self, answers: Answers, status: int) -> None:
        """A server that answers as it should has no fault."""
        answers.give(status, "not JSON")
        error = search(answers.url)
        assert isinstance(error, MlflowException)
        assert faults.explain(error) is None

    def test_mistake(self) -> None:
        """What MLflow refuses is no fault of a server."""
        assert faults.explain(MlflowException("a bad name", error_code=INVALID_PARAMETER_VALUE)) is None
        assert faults.explain(MlflowException("a run that must be in another state")) is None

    @pytest.mark.parametrize(
        ("uri", "is_remote"),
        [
            ("http://localhost:5000", True),
            ("https://localhost:5000", True),
            ("sqlite:///mlflow.db", False),
            ("mlruns", False),
            ("file:///mlruns", False),
            ("", False),
            (None, False),
        ],
    )
    def test_mlflow_without_a_server(self, monkeypatch: pytest.MonkeyPatch, uri: str | None, is_remote: bool) -> None:
        """An error inside MLflow is a server's only where there is one."""
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
        if uri is not None:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        found = faults.explain(MlflowException("no", error_code=TEMPORARILY_UNAVAILABLE))
        text = TRACKING_FAILS.format("status 503")
        assert found == (Fault("tracking server", f"The tracking server at {uri} {text}") if is_remote else None)


def throw(error: Exception) -> None:
    """Raise an error."""
    raise error


def caused(error: Exception) -> Exception:
    """Wrap an error as `raise … from error` does."""

    def act() -> None:
        raise DatasetError("Failed while loading data") from error

    return raised(act)


def in_context(error: Exception) -> Exception:
    """Wrap an error as raising another one while it is handled does."""

    def act() -> None:
        try:
            throw(error)
        except type(error):
            raise DatasetError("Failed while loading data")  # noqa: B904  # which is the point

    return raised(act)


def hidden(error: Exception) -> Exception:
    """Wrap an error as `raise … from None` does."""

    def act() -> None:
        try:
            throw(error)
        except type(error):
            raise DatasetError("Failed while loading data") from None

    return raised(act)


def beside_a_cause(error: Exception) -> Exception:
    """Wrap an error as raising from another one while it is handled does."""

    def act() -> None:
        try:
            throw(error)
        except type(error):
            raise DatasetError("Failed while loading data") from KeyError("a")

    return raised(act)


def in_a_circle(error: Exception) -> Exception:
    """Wrap an error so that its chain leads back to where it starts."""
    first, second = KeyError("a"), ValueError("b")
    first.__cause__, second.__cause__, second.__context__ = second, first, error
    return first


WRAPPED: list[Callable[[Exception], Exception]] = [
    caused,
    in_context,
    hidden,
    beside_a_cause,
    in_a_circle,
    lambda error: caused(caused(error)),
    lambda error: in_context(caused(in_context(error))),
]


class TestChain:
    """Errors are wrapped on their way to the person who reads them."""

    @pytest.mark.parametrize("wrap", WRAPPED)
    def test_wrapped_fault_is_found(self, wrap: Callable[[Exception], Exception]) -> None:
        """However an error of a client was wrapped, it is explained as if it were not."""
        fault = faults.explain(wrap(client_error("NoSuchBucket", 404)))
        assert of_store(LACKS.format("NoSuchBucket in PutObject")) == fault

    @pytest.mark.parametrize("wrap", WRAPPED)
    def test_other_errors_have_no_fault(self, wrap: Callable[[Exception], Exception]) -> None:
        """Where no server is in the chain, none is blamed, and the search ends."""
        assert faults.explain(wrap(ZeroDivisionError("a bug"))) is None

    def test_nearest_fault_counts(self) -> None:
        """Of two faults, the last one that happened is explained."""
        error = client_error("NoSuchBucket", 404)
        error.__cause__ = NoCredentialsError()
        assert of_store(LACKS.format("NoSuchBucket in PutObject")) == faults.explain(error)

    @pytest.mark.parametrize(
        "error",
        [
            ValueError("a bug"),
            KeyError("Code"),
            FileNotFoundError("data/table.csv"),
            PermissionError("data/table.csv"),
            DatasetError("Failed while loading data"),
            RegistryError("No version"),
            KeyboardInterrupt(),
        ],
    )
    def test_errors_of_this_machine_have_no_fault(self, error: BaseException) -> None:
        """What happens without servers is not their fault."""
        assert faults.explain(error) is None


ERRORS: list[Exception] = [
    client_error("AccessDenied", 403),
    client_error("NoSuchBucket", 404),
    client_error("QuotaExceeded", 403),
    client_error("SlowDown", 503),
    NoCredentialsError(),
    EndpointConnectionError(endpoint_url=f"http://{USER}:{PASSWORD}@store", error="a\nb"),
    requests.ConnectionError(f"http://{USER}:{PASSWORD}@tracking\nrefused"),
    requests.exceptions.RetryError(f"http://{USER}:{PASSWORD}@tracking\n503"),
    MlflowException(f"http://{USER}:{PASSWORD}@tracking\n503", error_code=TEMPORARILY_UNAVAILABLE),
]


class TestText:
    """What a person reads."""

    @pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{type(error).__name__}-{str(error)[19:32]}")
    def test_is_one_line_that_names_the_server_and_no_password(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        """Each text is one line with the address and an advice; what is secret in the address stays out."""
        for name, uri in (("AWS_ENDPOINT_URL", STORE), ("MLFLOW_TRACKING_URI", TRACKING)):
            monkeypatch.setenv(name, uri.replace("://", f"://{USER}:{PASSWORD}@"))
        fault = faults.explain(error)
        assert fault is not None
        address = {"object store": STORE, "tracking server": TRACKING}[fault.server]
        assert fault.text.startswith(f"The {fault.server} at {address} ")
        assert [] == [text for text in ("\n", USER + ":", PASSWORD) if text in fault.text]
        advice = fault.text.partition(". ")[2]
        assert advice.split()[0] in {"Check", "Create", "Free", "Its", "Set", "Start"}
        assert advice.endswith((".", "`."))

    @pytest.mark.parametrize(
        ("uri", "shown"),
        [
            ("http://localhost:9000", "http://localhost:9000"),
            ("http://ada:s3cret@localhost:9000", "http://localhost:9000"),
            ("http://ada@localhost:9000", "http://localhost:9000"),
            ("http://:s3cret@localhost:9000", "http://localhost:9000"),
            ("https://ada:s3%2Fcret@store.example.org/s3/?a=b#c", "https://store.example.org/s3/?a=b#c"),
            ("https://ada:s3@cret@store.example.org", "https://store.example.org"),
            ("http://ada:s3cret@[::1]:9000", "http://[::1]:9000"),
            ("postgresql://ada:s3cret@localhost/mlflow", "postgresql://localhost/mlflow"),
            ("ada:s3cret@localhost:9000", "localhost:9000"),
            ("", ""),
        ],
    )
    def test_password_is_dropped(self, uri: str, shown: str) -> None:
        """Only user and password are dropped from an address."""
        assert shown == faults.without_password(uri)

    @pytest.mark.parametrize("special", ["/", "#", "?", "["])
    def test_password_that_breaks_the_address_is_dropped(self, special: str) -> None:
        """Special characters of a password should be quoted; where they are not, it stays secret all the same."""
        shown = faults.without_password(f"http://ada:s3{special}cret@localhost:9000")
        assert [] == [part for part in ("ada", "s3", "cret") if part in shown]
        assert (urlsplit(shown).hostname, urlsplit(shown).port) == ("localhost", 9000)
