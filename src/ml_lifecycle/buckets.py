"""Creates the three buckets, on any S3 store: ``python -m ml_lifecycle.buckets``.

The store and an administrator's keys come from the environment: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION.
"""

import argparse
import os
from typing import Any

import click
import s3fs

from ml_lifecycle import faults

#: Whether a bucket keeps every version of its objects. What pipelines make is rebuilt instead.
VERSIONED = {"ml-data": False, "dvc": True, "mlflow": True}
#: S3's first region must not be named when a bucket is created.
FIRST_REGION = "us-east-1"


def open_store(**options: Any) -> s3fs.S3FileSystem:
    """Open the store that the environment names, with its keys or others given as ``key`` and ``secret``."""
    region = os.environ.get("AWS_DEFAULT_REGION", FIRST_REGION)
    client = {} if region == FIRST_REGION else {"region_name": region}
    store = s3fs.S3FileSystem(anon=False, client_kwargs=client, skip_instance_cache=True, **options)
    store.retries = 1  # botocore asks again as often as defaults.env says; both together would multiply
    return store


def _is_there(store: s3fs.S3FileSystem, bucket: str) -> bool:
    try:
        store.info(bucket)
    except FileNotFoundError:
        return False
    return True


def create(store: s3fs.S3FileSystem, prefix: str = "") -> dict[str, bool]:
    """Create the buckets that are not there, and switch versioning on where it belongs.

    Returns:
        For each bucket whether it is new.
    """
    new = {}
    for name, versioned in VERSIONED.items():
        bucket = f"{prefix}{name}"
        new[bucket] = not _is_there(store, bucket)
        if new[bucket]:
            store.mkdir(bucket)
        if versioned:
            store.make_bucket_versioned(bucket)
    return new


def describe(created: dict[str, bool]) -> str:
    """Say what was made, and what was there."""
    return "\n".join(f"bucket {bucket}: {'created' if new else 'was there'}" for bucket, new in created.items())


def main() -> None:
    """Create the buckets and say so; a fault of the store ends in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefix", default="", help="before each name, where names are shared with the whole world")
    prefix = parser.parse_args().prefix
    try:
        click.echo(describe(create(open_store(), prefix)))
    except Exception as error:
        fault = faults.explain(error)
        if fault is None:
            raise
        raise SystemExit(f"Error: {fault.text}") from error


if __name__ == "__main__":
    main()
