"""Setting the store up: buckets on any store, identities on MinIO."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import servers
from ml_lifecycle import buckets
from servers import PROJECT, Keys, ObjectStore, Stack

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]

#: Something each identity must be able to do: bucket and object it reads, and whether it writes there.
MUST = {
    "pipelines": [("ml-data", "06_models/model.onnx", True), ("dvc", "files/md5/00/1", True)],
    "tracking": [("mlflow", "1/models/model.onnx", True)],
    "serving": [("ml-data", "05_model_input/requests.parquet", False)],
}
PREFIXES = ("AWS", "TRACKING", "SERVING")
OBJECTS = {(bucket, key) for allowed in MUST.values() for bucket, key, _ in allowed}


@pytest.fixture(scope="module")
def site(kind: str, known_secrets: set[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start a stack of one's own, with an object in every place."""
    folder = tmp_path_factory.mktemp("init")
    with servers.object_store(kind, folder) as store, servers.stack(store, folder) as stack:
        known_secrets |= stack.secrets
        for bucket, key in OBJECTS:
            store.files().pipe_file(f"{bucket}/{key}", b"before")
        yield stack


def test_creates_the_buckets(site: Stack) -> None:
    """The three buckets are there; those of DVC and MLflow keep every version."""
    files = site.store.files()
    assert buckets.VERSIONED == {name: files.is_bucket_versioned(name) for name in files.ls("")}
    assert {"ml-data": False, "dvc": True, "mlflow": True} == buckets.VERSIONED


def test_changes_nothing_the_second_time(site: Stack) -> None:
    """A second time it says that the buckets were there, and keeps what is in them."""
    again = servers.initialise(site.store, site.identities)
    assert 3 == again.stdout.count(": was there")
    assert b"before" == site.store.files().cat_file("ml-data/06_models/model.onnx")
    assert {"ml-data", "dvc", "mlflow"} == set(site.store.files().ls(""))


def test_takes_a_prefix(site: Stack) -> None:
    """Where names are shared with the whole world, each bucket gets a prefix."""
    files = site.store.files()
    assert {"acme-ml-data": True, "acme-dvc": True, "acme-mlflow": True} == buckets.create(files, "acme-")
    for name in buckets.VERSIONED:
        files.rmdir(f"acme-{name}")


def test_a_store_that_is_away_ends_in_one_line(site: Stack) -> None:
    """Without a store the command ends with one line."""
    nobody = f"http://{servers.HOST}:{servers.free_port()}"
    variables = {"AWS_ENDPOINT_URL": nobody, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    result = subprocess.run(
        [sys.executable, "-m", "ml_lifecycle.buckets"],
        env={**servers.plain_environment(), **variables},
        check=False,
        capture_output=True,
        text=True,
    )
    assert 1 == result.returncode
    line = f"The object store at {nobody} does not answer (EndpointConnectionError). Start it, or correct"
    assert [f"Error: {line} AWS_ENDPOINT_URL."] == result.stderr.splitlines()


def attempts(store: ObjectStore, keys: Keys, bucket: str, key: str) -> set[str]:
    """Try to list, read, write and delete as an identity; return what succeeded."""
    files, path = store.files(keys), f"{bucket}/{key}"
    tries = {
        "list": lambda: files.ls(bucket, refresh=True),
        "read": lambda: files.cat_file(path),
        "write": lambda: files.pipe_file(path, b"after"),
        "delete": lambda: files.rm_file(path),
    }
    done = set()
    for name, attempt in tries.items():
        try:
            attempt()
            done.add(name)
        except PermissionError:
            continue
    store.files().pipe_file(path, b"before")
    return done


def allowed(identity: str, bucket: str, key: str) -> set[str]:
    """What an identity must be able to do with an object."""
    for its_bucket, its_key, writes in MUST[identity]:
        if (its_bucket, its_key) == (bucket, key):
            return {"list", "read", "write", "delete"} if writes else {"read"}
    mine = {its_bucket for its_bucket, _, writes in MUST[identity] if writes}
    return {"list", "read", "write", "delete"} if bucket in mine else set()


@pytest.mark.minio
def test_identities_may_do_no_more_than_they_must(site: Stack) -> None:
    """Each identity can do exactly what it must."""
    possible = {
        (name, bucket, key): attempts(site.store, site.identities[name], bucket, key)
        for name in MUST
        for bucket, key in sorted(OBJECTS)
    }
    assert {place: allowed(*place) for place in possible} == possible


def test_another_store_makes_its_identities_itself(known_secrets: set[str], tmp_path: Path) -> None:
    """On a store that is not MinIO the script makes the buckets, and says in one line what is left to do."""
    names = [f"{prefix}_{part}" for prefix in PREFIXES for part in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")]
    with servers.object_store("weed", tmp_path) as store:
        known_secrets.add(store.root.secret)
        root = {"MINIO_ROOT_USER": store.root.key, "MINIO_ROOT_PASSWORD": store.root.secret}
        given = {**dict.fromkeys(names, "some-key"), **root, "AWS_ENDPOINT_URL": store.endpoint}
        result = subprocess.run(
            [sys.executable, "deploy/minio/init.py"],
            cwd=PROJECT,
            env={**servers.plain_environment(), **given},
            check=False,
            capture_output=True,
            text=True,
        )
    assert (1, 3) == (result.returncode, result.stdout.count(": created"))
    (line,) = result.stderr.splitlines()
    assert "does not take MinIO's administration" in line


@pytest.mark.minio
@pytest.mark.parametrize("identity", list(MUST))
def test_no_identity_administers(site: Stack, identity: str) -> None:
    """Nobody but the administrator changes buckets, old versions or users."""
    from minio import MinioAdmin
    from minio.credentials import StaticProvider
    from minio.error import MinioAdminException

    keys = site.identities[identity]
    files = site.store.files(keys)
    with pytest.raises(PermissionError):
        files.mkdir("another-bucket")
    with pytest.raises(PermissionError):
        files.call_s3("delete_bucket", Bucket="dvc")
    with pytest.raises(PermissionError):
        files.make_bucket_versioned("dvc", versioned=False)
    version = site.store.files().call_s3("list_object_versions", Bucket="dvc")["Versions"][-1]
    with pytest.raises(PermissionError):
        files.call_s3("delete_object", Bucket="dvc", Key=version["Key"], VersionId=version["VersionId"])
    address = site.endpoint.removeprefix("http://")
    admin = MinioAdmin(endpoint=address, credentials=StaticProvider(keys.key, keys.secret), secure=False)
    with pytest.raises(MinioAdminException, match="AccessDenied"):
        admin.user_add(access_key="intruder", secret_key=Keys("intruder").secret)


def test_missing_variables_are_named() -> None:
    """The initialisation names every variable that is not set."""
    result = subprocess.run(
        [sys.executable, "deploy/minio/init.py"],
        cwd=PROJECT,
        env={**servers.plain_environment(), "MINIO_ROOT_USER": "administrator"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert 1 == result.returncode
    assert result.stderr.startswith("Error: AWS_ENDPOINT_URL, MINIO_ROOT_PASSWORD, AWS_ACCESS_KEY_ID, ")
    assert os.environ.get("HOME", "/root") not in result.stderr
