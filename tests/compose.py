"""The Compose stack of a copy of the project, as somebody on its host sees it."""

import contextlib
import json
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import pyarrow.dataset as ds
import s3fs

from project_copy import MODEL, ProjectCopy, environment
from servers import free_port

#: The raw data of the small copy.
RAW = "conf/test/dvc.yaml:raw_sample"
#: Of an action that waits for containers, in seconds.
PATIENCE = 600
#: By which the stack is reached; several stacks on one machine share none.
PORTS = ("MINIO_PORT", "MINIO_CONSOLE_PORT", "MLFLOW_PORT", "API_PORT", "JUPYTER_PORT", "VIZ_PORT")


@dataclass(frozen=True)
class Answer:
    """What the service answers."""

    status: int
    json: Any


@dataclass(frozen=True)
class Compose:
    """The stack of one copy of the project."""

    project: ProjectCopy
    variables: dict[str, str] = field(repr=False)

    @classmethod
    def of(cls, project: ProjectCopy, name: str, images: str) -> "Compose":
        """Describe a stack and images of its own for a copy that has no .env yet."""
        ports = {port: str(free_port()) for port in PORTS}
        stack = cls(project, {**ports, "STACK_NAME": name, "IMAGE_PREFIX": images, "IMAGE_TAG": "test"})
        stack.make(".env")
        file = project.path / ".env"
        text = file.read_text(encoding="utf-8").replace(":9000", f":{ports['MINIO_PORT']}")
        file.write_text(text.replace(":5000", f":{ports['MLFLOW_PORT']}"), encoding="utf-8")
        return stack

    def remove(self) -> None:
        """Remove its containers and its data, if there are any."""
        self.run("docker", "compose", "--profile", "*", "down", "--volumes", check=False)

    def run(self, *command: str, check: bool = True, given: str = "") -> "subprocess.CompletedProcess[str]":
        """Run a command on the host, in the copy, with a text on its standard input."""
        settings = {**environment(self.project.path), **self.variables}
        done = subprocess.run(
            command,
            cwd=self.project.path,
            env=settings,
            check=False,
            input=given,
            capture_output=True,
            text=True,
            timeout=PATIENCE * 2,
        )
        if check:
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
        return done

    def make(self, *targets: str, check: bool = True, given: str = "") -> "subprocess.CompletedProcess[str]":
        """Call make, with the virtual environment of these tests."""
        return self.run("make", "-o", ".venv/.complete", *targets, check=check, given=given)

    def docker(self, *arguments: str) -> str:
        """Call docker; return what it printed."""
        return self.run("docker", *arguments).stdout.strip()

    def kill(self, pid: int) -> None:
        """End a process of the machine that the engine runs on, without asking; `docker kill` would count as a wish."""
        image = f"{self.variables['IMAGE_PREFIX']}-pipelines:{self.variables['IMAGE_TAG']}"
        command = f"import os; os.kill({pid}, {signal.SIGKILL.value})"
        self.docker("run", "--rm", "--pid", "host", "--user", "0:0", image, "python", "-c", command)

    def kedro(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run Kedro on this machine, on the servers of the stack: with the variables of .env."""
        text = (self.project.path / ".env").read_text(encoding="utf-8")
        return self.project.run(
            "kedro", *arguments, check=check, **dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
        )

    def trace(self, request_id: str) -> dict[str, Any]:
        """What stands behind an answer, once the service has brought it to the log."""
        deadline = time.monotonic() + PATIENCE
        while True:
            told = json.loads(self.kedro("model", "trace", request_id, "--env", "minio", "--json", check=False).stdout)
            if told["answer"] == "yes":
                return dict(told)
            assert time.monotonic() < deadline, told
            time.sleep(1)

    def logged(self) -> list[str]:
        """The ids of all answers in the prediction log, as whoever trains may read it."""
        files = s3fs.S3FileSystem(
            key=self.secret("AWS_ACCESS_KEY_ID"),
            secret=self.secret("AWS_SECRET_ACCESS_KEY"),
            endpoint_url=self.secret("AWS_ENDPOINT_URL"),
            use_listings_cache=False,  # others write there
        )
        paths = files.find("ml-data/07_model_output/prediction_log")
        log = ds.dataset([path for path in paths if path.endswith(".parquet")], filesystem=files, format="parquet")
        return list(log.to_table(columns=["request_id"])["request_id"].to_pylist())

    def container(self, service: str) -> str:
        """The id of the container of a service."""
        return self.docker("compose", "ps", "--quiet", service)

    def ask(self, path: str, content: Any = None) -> Answer:
        """Ask the service, with a key."""
        url = f"http://127.0.0.1:{self.variables['API_PORT']}{path}"
        body = None if content is None else json.dumps(content).encode()
        headers = {"Content-Type": "application/json", "X-API-Key": self.secret("API_KEY")}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:
                return Answer(answer.status, json.load(answer))
        except urllib.error.HTTPError as error:
            return Answer(error.code, json.loads(error.read() or b"null"))

    def version_served(self) -> str | None:
        """The number of the version that answers; None without an answer."""
        with contextlib.suppress(OSError):
            model = self.ask("/ready").json["model"]
            return str(model["version"]) if model else None
        return None

    def wait_for_version(self, number: str) -> dict[str, Any]:
        """Wait until the service answers with a version; return what it tells of it."""
        deadline = time.monotonic() + PATIENCE
        while self.version_served() != number:
            assert time.monotonic() < deadline, self.ask("/ready")
            time.sleep(0.2)
        return dict(self.ask("/model").json)

    def secret(self, name: str) -> str:
        """The value of a variable in .env."""
        found = re.search(rf"^{name}=(.*)$", (self.project.path / ".env").read_text(encoding="utf-8"), re.MULTILINE)
        assert found
        return found[1]


def registered(printed: str) -> tuple[str, str]:
    """Number and digest of the version that a run says it registered."""
    found = re.search(rf"Registered '{MODEL}' version (\d+), SHA-256 ([0-9a-f]{{64}})", printed)
    assert found, printed
    return found[1], found[2]
