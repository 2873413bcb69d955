"""The log that keeps every answer: who answered a request, when and what.

``date=YYYY-MM-DD`` folders hold Parquet files of two writers. A batch run adds one file, with the columns of
`ml_lifecycle.schemas.Predictions`; its inputs are tables of the catalog. The service adds one for each segment of its
own log (`ml_lifecycle.api.log_shipping`), seconds after the answers, with all of `ml_lifecycle.prediction_columns`.
Others may write there, too: what is read are files that end in ``.parquet``, and of their columns those that
`Prediction` names; one that a file lacks is None.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.dataset as ds
from pydantic import BaseModel, ConfigDict

from ml_lifecycle import request_id as ids
from ml_lifecycle.errors import LifecycleError
from ml_lifecycle.prediction_columns import SCHEMA


class RequestIdError(LifecycleError):
    """A text that is no request id."""


class PredictionLogError(LifecycleError):
    """A log that cannot say which answer was given."""


class Prediction(BaseModel):
    """An answer as it was given; ``request_key`` is None where requests have no keys.

    From ``threshold`` on it is what only the service logs, and None in an answer of a batch run. ``inputs`` is a JSON
    object, ``correlation_id`` the caller's own id of the request.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    request_id: str
    request_key: str | None
    probability: float
    decision: str
    model_name: str
    model_version: str
    model_digest: str
    scored_at: datetime
    threshold: float | None = None
    protocol: str | None = None
    correlation_id: str | None = None
    inputs: str | None = None


def _rows(url: str, folder: str, request_id: str, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    files, log = fsspec.core.url_to_fs(url, **options)
    day = f"{log}/{folder}"
    files.invalidate_cache(day)  # another process may have added to it
    paths = [path for path in files.find(day) if path.endswith(".parquet")]
    table = ds.dataset(paths, schema=pa.schema(SCHEMA), filesystem=files, format="parquet")
    try:
        return list(table.to_table(filter=ds.field("request_id") == request_id).to_pylist())
    except pa.ArrowException as error:
        raise PredictionLogError(
            f"The prediction log {url}/{folder} cannot be read: {error}. Ask again if the file is just being "
            "written. If the run that wrote it was interrupted, move it away."
        ) from error


def find(url: str, request_id: str, options: Mapping[str, Any] | None = None) -> Prediction | None:
    """Find the answer with an id; only the files of its day are read.

    Args:
        url: the folder of the log, an address that fsspec knows.
        request_id: as it stands in the predictions.
        options: how to open the address.

    Returns:
        The answer; None if the log has none with this id.

    Raises:
        RequestIdError: the text is no request id.
        PredictionLogError: a file cannot be read, or two different answers have the id.
    """
    try:
        folder = ids.folder_of(ids.day_of(request_id))
    except ValueError:
        raise RequestIdError(
            f"{request_id!r} is no request id. One looks like 20131201-0123456789abcdef0123456789abcdef: the day of "
            f"the answer (UTC), a hyphen and {ids.DIGITS} of the digits 0-9 and a-f, as in the column 'request_id' of "
            "the predictions."
        ) from None
    found = {Prediction(**row) for row in _rows(url, folder, request_id, options or {})}
    if len(found) > 1:
        raise PredictionLogError(
            f"The prediction log {url}/{folder} holds {len(found)} different answers with the id {request_id}, where "
            "an id names one. So it is if a model was asked twice within a second, with one key and other values."
        )
    return next(iter(found), None)
