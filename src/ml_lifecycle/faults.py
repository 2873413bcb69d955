"""What went wrong between this machine and its servers, in one line."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import requests
from botocore import exceptions as s3

#: What a code of the store means, with what was asked for {}.
REFUSALS = {
    "refuses what is asked with these keys {}. Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN "
    "if it is set, and what the policy of this identity allows.": {
        *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "InvalidTokenId"),
        *("AccessDenied", "403"),
    },
    "keeps this in another region {}. Check AWS_DEFAULT_REGION and AWS_ENDPOINT_URL.": {
        *("AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect", "301"),
    },
    "finds that this machine's clock is off {}. Set it.": {"RequestTimeTooSkewed", "RequestExpired"},
}
LACKS = "lacks the bucket {}. Create the buckets: `make stack-init`, on other stores `python -m ml_lifecycle.buckets`."
BUCKETS = {"NoSuchBucket", "404"}
FULL = re.compile(r"Quota|StorageFull|InsufficientStorage|507")
SERVER_SIDE = 500
AWAY = "does not answer ({}). Start it, or correct {}."
REFUSED = (
    "answers with {}. Check MLFLOW_TRACKING_URI, whom the server lets in, and whether its artifact store is there."
)
UNWELL = "answers with {}, however often it is asked. Its log says more, also of its database and its artifact store."


@dataclass(frozen=True)
class Fault:
    """Which server did not do its part, and what to do about it."""

    server: Literal["object store", "tracking server"]
    text: str
    is_away: bool = False


def without_password(uri: str) -> str:
    """Drop user and password from an address, so that it can be shown, also from one that lacks its scheme."""
    return re.sub(r"^([a-zA-Z][a-zA-Z0-9+.-]*://)?.*@", r"\1", uri)  # a password may hold what an address may not


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error, then its causes and contexts, each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop(0)
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            yield found
            waiting += [found.__cause__, found.__context__]


def _of_store(text: str, *, is_away: bool = False) -> Fault:
    address = without_password(os.environ.get("AWS_ENDPOINT_URL", "https://s3.amazonaws.com"))
    return Fault("object store", f"The object store at {address} {text}", is_away)


def _of_answer(error: s3.ClientError) -> Fault | None:
    answer = error.response
    code = str(answer.get("Error", {}).get("Code", ""))
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    told = f"({code} in {error.operation_name})"
    for text, codes in REFUSALS.items():
        if code in codes:
            return _of_store(text.format(told))
    if code in BUCKETS and error.operation_name != "HeadObject":
        return _of_store(LACKS.format(told))
    if FULL.search(f"{code} {status}"):
        return _of_store(f"is full {told}. Free space or raise the quota.")
    if status >= SERVER_SIDE:
        return _of_store(f"kept failing, however often it was asked {told}. Its log says more.")
    return None


def _of_tracking(text: str, *, is_away: bool = False) -> Fault:
    address = without_password(os.environ.get("MLFLOW_TRACKING_URI", ""))
    return Fault("tracking server", f"The tracking server at {address} {text}", is_away)


def tracking_server() -> str | None:
    """The address of the tracking server, if the environment names one."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    return uri if uri.startswith(("http://", "https://")) else None


def _fault(error: BaseException) -> Fault | None:
    from aiohttp import ClientError as ConnectionCut  # s3fs's own, loaded by then

    match error:
        case s3.ClientError():
            return _of_answer(error)
        case s3.NoCredentialsError():
            return _of_store("needs keys. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.")
        case s3.HTTPClientError() | s3.ConnectionError() | ConnectionCut():
            return _of_store(AWAY.format(type(error).__name__, "AWS_ENDPOINT_URL"), is_away=True)
        case requests.RequestException() if tracking_server() is not None:
            return _of_request(error)
    return None


def _of_request(error: requests.RequestException) -> Fault:
    if error.response is not None:
        status = error.response.status_code
        return _of_tracking((UNWELL if status >= SERVER_SIDE else REFUSED).format(f"status {status}"))
    if isinstance(error, requests.exceptions.RetryError):
        return _of_tracking(UNWELL.format("errors only"))
    return _of_tracking(AWAY.format(type(error).__name__, "MLFLOW_TRACKING_URI"), is_away=True)


def _of_mlflow(error: BaseException) -> Fault | None:
    from mlflow.exceptions import MlflowException, RestException  # slow to import, and loaded by then

    if not isinstance(error, MlflowException) or tracking_server() is None:
        return None
    # What MLflow refuses by itself, before it asks the server, has the code of an internal error as well.
    is_answer = isinstance(error, RestException) or str(error).startswith("API request to ")
    status = int(error.get_http_status_code())  # type: ignore[no-untyped-call]  # MLflow's
    is_fault = status >= SERVER_SIDE and (is_answer or error.error_code != "INTERNAL_ERROR")
    return _of_tracking(UNWELL.format(f"status {status}")) if is_fault else None


def explain(error: BaseException) -> Fault | None:
    """Find the fault of a server behind an error, however often it was wrapped; None if there is none.

    MLflow's own errors come last: they stand before the ones that say more.
    """
    return next((fault for find in (_fault, _of_mlflow) for cause in chain(error) if (fault := find(cause))), None)
