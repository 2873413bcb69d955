"""Sets a MinIO server up: the buckets, and four identities that may do no more than they must.

Idempotent. Reads AWS_ENDPOINT_URL, the administrator's MINIO_ROOT_USER and MINIO_ROOT_PASSWORD, and the keys that the
identities get: AWS_… for the pipelines, TRACKING_… for the tracking server, SERVING_… for the service, AUDITOR_… for
whoever audits. What each may do stands in ``policies/``, in the language of AWS, for other stores as well.
"""

import json
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from minio import MinioAdmin
from minio.credentials import StaticProvider
from minio.error import MinioAdminException

from ml_lifecycle import buckets, faults

POLICIES = Path(__file__).parent / "policies"
#: Policy, and the prefix of the variables ..._ACCESS_KEY_ID and ..._SECRET_ACCESS_KEY.
IDENTITIES = {"pipelines": "AWS", "tracking": "TRACKING", "serving": "SERVING", "auditor": "AUDITOR"}
ADMINISTRATOR = ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD")


def variables() -> dict[str, str]:
    """Read everything that is needed, or name what is missing."""
    keys = [f"{prefix}_{part}" for prefix in IDENTITIES.values() for part in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")]
    names = ["AWS_ENDPOINT_URL", *ADMINISTRATOR, *keys]
    if missing := [name for name in names if not os.environ.get(name)]:
        sys.exit(f"Error: {', '.join(missing)} not set. Copy .env.example to .env and fill it in.")
    return {name: os.environ[name] for name in names}


def create_identities(settings: dict[str, str]) -> None:
    """Create or renew the four identities, each with its policy."""
    address = urlsplit(settings["AWS_ENDPOINT_URL"])
    admin = MinioAdmin(
        endpoint=address.netloc,
        credentials=StaticProvider(*(settings[name] for name in ADMINISTRATOR)),
        secure=address.scheme == "https",
    )
    for name, prefix in IDENTITIES.items():
        key = settings[f"{prefix}_ACCESS_KEY_ID"]
        admin.policy_add(policy_name=name, policy=json.loads((POLICIES / f"{name}.json").read_text(encoding="utf-8")))
        admin.user_add(access_key=key, secret_key=settings[f"{prefix}_SECRET_ACCESS_KEY"])
        admin.policy_set(policy_name=name, user=key)
        print(f"identity {name}: key {key}, may do what policies/{name}.json says")


def main() -> None:
    """Set the server up; what goes wrong ends in one line."""
    settings = variables()
    root, password = (settings[name] for name in ADMINISTRATOR)
    try:
        print(buckets.describe(buckets.create(buckets.open_store(key=root, secret=password))))
    except Exception as error:
        fault = faults.explain(error)
        if fault is None:
            raise
        sys.exit(f"Error: {fault.text}")
    try:
        create_identities(settings)
    except MinioAdminException as error:
        sys.exit(
            f"Error: the store at {faults.without_password(settings['AWS_ENDPOINT_URL'])} is there, but does not "
            f"take MinIO's administration ({type(error).__name__}). The buckets are made; create the identities with "
            "the store's own means, from the policies in deploy/minio/policies."
        )


if __name__ == "__main__":
    main()
