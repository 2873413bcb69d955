"""The store that several machines share, as an environment names it, and what this process holds of it."""

import logging
import os
import re
from typing import Any

from kedro.config import AbstractConfigLoader

from ml_lifecycle import faults
from ml_lifecycle.errors import ConfigurationError
from ml_lifecycle.hold import Hold, HoldFile
from ml_lifecycle.ledger import Ledger

logger = logging.getLogger(__name__)

#: What this process holds: nothing, or one store.
held: list[tuple[HoldFile, Hold]] = []
_ADDRESS = re.compile(r"https?://\S+")


def _open_store() -> None:
    """Make s3fs ready.

    Raises:
        ConfigurationError: the store's address is none.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and not _ADDRESS.fullmatch(endpoint):
        raise ConfigurationError(
            f"AWS_ENDPOINT_URL is no address of an object store: got {faults.without_password(endpoint)!r}. "
            "Allowed: http://… or https://…, without blanks."
        )
    from s3fs import S3FileSystem  # a quarter of a second, which runs on files need not pay

    S3FileSystem.retries = 1  # botocore asks again as often as defaults.env says; both together would multiply


def _in_store(loader: AbstractConfigLoader, key: str) -> tuple[str, dict[str, Any] | None] | None:
    """Address and options of one of the files through which runs share a store, if the environment names one."""
    store = loader["globals"]["store"]
    if store[key] is None:
        return None
    _open_store()
    return store[key], loader["credentials"][store["credentials"]] if store["credentials"] else None


def hold_file(loader: AbstractConfigLoader) -> HoldFile | None:
    """The file that says who is at work, if the environment names one."""
    place = _in_store(loader, "hold")
    return None if place is None else HoldFile(*place)


def ledger(loader: AbstractConfigLoader) -> Ledger | None:
    """The file that says which run wrote what, if the environment names one."""
    place = _in_store(loader, "ledger")
    return None if place is None else Ledger(*place)


def give_back() -> None:
    """Give the store back, if this process holds it."""
    while held:
        file, hold = held.pop()
        try:
            file.release(hold)
        except Exception as error:
            if faults.explain(error) is None:
                raise
            logger.info("the store was not told that this run has ended; the next run on this machine sees it")
