"""Setting the store up: buckets on any store, identities on MinIO."""

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

import servers
from ml_lifecycle import buckets
from servers import PROJECT, Keys, ObjectStore, Stack

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]

PREFIXES = ("AWS", "TRACKING", "SERVING", "AUDITOR")
MODEL = "ml-data/06_models/model.onnx"
REQUESTS = "ml-data/05_model_input/requests.parquet"
ANSWERS = "ml-data/07_model_output/prediction_log/date=2013-12-01/1.parquet"
PREDICTIONS = "ml-data/07_model_output/predictions.parquet"
MOVE = "ml-data/registry/flight_delay/staging/000001.json"
RAW = "dvc/files/md5/00/1"
ELSEWHERE = "dvc/runs/00/1"
ARTIFACT = "mlflow/1/models/model.onnx"
OBJECTS = (MODEL, REQUESTS, PREDICTIONS, ANSWERS, MOVE, RAW, ELSEWHERE, ARTIFACT)
READ = {"list", "read"}
CREATE = {"list the bucket", "write", *READ}
ALL = {"delete", "delete several", *CREATE}
#: What each identity may do with each object; with others nothing.
MAY = {
    "pipelines": {
        **dict.fromkeys((MODEL, REQUESTS, PREDICTIONS, ANSWERS), ALL),
        **dict.fromkeys((MOVE, RAW, ELSEWHERE), CREATE),
    },
    "tracking": {ARTIFACT: ALL},
    "serving": {REQUESTS: {"read"}, PREDICTIONS: {"read"}, ANSWERS: {"read", "write"}},
    "auditor": {ANSWERS: READ, MOVE: READ, RAW: {"list the bucket", *READ}, ELSEWHERE: {"list the bucket", "list"}},
}


@pytest.fixture(scope="module")
def site(kind: str, known_secrets: set[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start a stack of one's own, with an object in every place."""
    folder = tmp_path_factory.mktemp("init")
    with servers.object_store(kind, folder) as store, servers.stack(store, folder) as stack:
        known_secrets |= stack.secrets
        for path in OBJECTS:
            store.files().pipe_file(path, b"before")
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
    assert b"before" == site.store.files().cat_file(MODEL)
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


def attempts(store: ObjectStore, keys: Keys, path: str) -> set[str]:
    """Try to list, read, write and delete as an identity; return what succeeded."""
    files = store.files(keys)
    bucket, _, key = path.partition("/")
    tries = {
        "list the bucket": lambda: files.ls(bucket),
        "list": lambda: files.ls(path.rpartition("/")[0]),
        "read": lambda: files.cat_file(path),
        "write": lambda: files.pipe_file(path, b"after"),
        "delete": lambda: files.rm_file(path),
        "delete several": lambda: files.call_s3("delete_objects", Bucket=bucket, Delete={"Objects": [{"Key": key}]}),
    }
    done = set()
    for name, attempt in tries.items():
        with contextlib.suppress(PermissionError):
            answer = attempt()
            if not (isinstance(answer, dict) and answer.get("Errors")):  # of several, each is refused for itself
                done.add(name)
    left = store.files().cat_file(path) if store.files().exists(path) else None
    assert left == (None if done & {"delete", "delete several"} else b"after" if "write" in done else b"before")
    store.files().pipe_file(path, b"before")
    return done


@pytest.mark.minio
@pytest.mark.parametrize("identity", list(MAY))
def test_identities_may_do_no_more_than_they_must(site: Stack, identity: str) -> None:
    """Each identity can do exactly what it must."""
    keys = site.identities[identity]
    assert {path: MAY[identity].get(path, set()) for path in OBJECTS} == {
        path: attempts(site.store, keys, path) for path in OBJECTS
    }


@pytest.mark.minio
def test_the_attempts_succeed_where_nothing_forbids_them(site: Stack) -> None:
    """What identities are refused is refused by their policies: the administrator succeeds."""
    assert dict.fromkeys(OBJECTS, ALL) == {path: attempts(site.store, site.store.root, path) for path in OBJECTS}


@pytest.mark.minio
@pytest.mark.parametrize("folder", ["registry", "registry/", "registry/flight_delay", "registry/flight_delay/staging"])
def test_the_pipelines_remove_no_folder_of_the_history(site: Stack, folder: str) -> None:
    """MinIO's own call, which removes a folder with all that is in it, is refused; the administrator may do it."""
    with pytest.raises(ClientError, match="AccessDenied"):
        remove_folder(site, site.identities["pipelines"], "ml-data", folder)
    assert b"before" == site.store.files().cat_file(MOVE)
    remove_folder(site, site.store.root, "ml-data", folder)
    assert not site.store.files().exists(MOVE)
    site.store.files().pipe_file(MOVE, b"before")


@pytest.mark.minio
def test_the_pipelines_remove_no_raw_data(site: Stack) -> None:
    """Nor a folder of them: older commits, and whoever reproduces their models, need them."""
    with pytest.raises(ClientError, match="AccessDenied"):
        remove_folder(site, site.identities["pipelines"], "dvc", "files")
    assert b"before" == site.store.files().cat_file(RAW)


@pytest.mark.minio
def test_a_folder_goes_with_its_old_versions(site: Stack) -> None:
    """Where an identity may delete, that call also removes old versions: docs/explanation/trust.md tells of it."""
    files = site.store.files()
    files.pipe_file("mlflow/gone/1", b"before")
    files.pipe_file("mlflow/gone/1", b"after")
    old = functools.partial(files.call_s3, "list_object_versions", Bucket="mlflow", Prefix="gone/")
    assert 2 == len(old()["Versions"])
    remove_folder(site, site.identities["tracking"], "mlflow", "gone")
    assert {"Versions", "DeleteMarkers"}.isdisjoint(old())


def remove_folder(site: Stack, keys: Keys, bucket: str, folder: str) -> None:
    """Ask MinIO to remove a folder at once."""
    client = site.client(keys)
    client.meta.events.register(
        "before-sign.s3.DeleteObject", lambda request, **_: request.headers.add_header("x-minio-force-delete", "true")
    )
    client.delete_object(Bucket=bucket, Key=folder)


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
@pytest.mark.parametrize("identity", list(MAY))
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
    assert "AUDITOR_ACCESS_KEY_ID, AUDITOR_SECRET_ACCESS_KEY not set." in result.stderr
    assert os.environ.get("HOME", "/root") not in result.stderr
