"""What the workflows call that needs a Docker Engine or a registry, with a `docker` that only notes its words."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from act import PROJECT

DIGEST = f"sha256:{'ab' * 32}"
DOCKER = f"""#!/bin/sh
printf '%s\\n' "$*" >>"$NOTES"
[ "$1 $2" = "login ghcr.io" ] && cat >>"$NOTES"
env | grep -A 1 -E '^(MODEL_)?SIGNING_KEY=' >"$NOTES.keys"
case "$*" in
  *RepoDigests*pipelines*) printf 'elsewhere/pipelines@{DIGEST}\\nghcr.io/acme/flights/pipelines@{DIGEST}\\n' ;;
  *RepoDigests*) for name; do :; done; echo "${{name%:*}}@{DIGEST}" ;;
  *inspect*) echo {DIGEST} ;;
esac
"""
SECRETS = {
    "AWS_ACCESS_KEY_ID": "pipelines",
    "AWS_SECRET_ACCESS_KEY": "a-secret",
    "MODEL_SIGNING_KEY": "-----BEGIN PRIVATE KEY-----\nabc",
}
STORES = {"MLFLOW_TRACKING_URI": "https://mlflow.example.org", "AWS_ENDPOINT_URL": "https://objects.example.org"}


@dataclass(frozen=True)
class Machine:
    """A folder with the scripts of `deploy`, and a `docker` on the path."""

    path: Path

    @property
    def notes(self) -> str:
        """The words that docker was called with."""
        return (self.path / "notes").read_text(encoding="utf-8")

    def run(self, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a command."""
        path = f"{self.path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environment = {"PATH": path, "NOTES": str(self.path / "notes"), "HOME": str(self.path), **variables}
        return subprocess.run(command, cwd=self.path, env=environment, check=False, capture_output=True, text=True)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine with a clone of which only the scripts matter."""
    for name in ("bin", "deploy", "docs/how-to", "src/ml_lifecycle", ".keys"):
        (tmp_path / name).mkdir(parents=True)
    scripts = ("deploy/train", "deploy/in-stack", "deploy/publish", "deploy/promote.py", "deploy/asking.py")
    for name in ("Makefile", "docs/how-to/flight.json", *scripts):
        (tmp_path / name).write_bytes((PROJECT / name).read_bytes())
        (tmp_path / name).chmod(0o755)
    (tmp_path / "src/ml_lifecycle/defaults.env").touch()
    (tmp_path / "bin/docker").write_text(DOCKER, encoding="utf-8")
    (tmp_path / "bin/docker").chmod(0o755)
    (tmp_path / ".keys/signing.pub").touch()
    return Machine(tmp_path)


def test_training_names_secrets_and_tells_none(machine: Machine) -> None:
    """Their values stand on no command line; the container may write where it must, and nowhere else."""
    ended = machine.run("deploy/train", **SECRETS, **STORES, MLFLOW_TRACKING_USERNAME="")
    assert ended.returncode == 0, ended.stderr
    told = machine.notes.splitlines()[-1]
    for name in (*SECRETS, *STORES, "IMAGE_DIGEST"):
        assert f" --env {name} " in told
    assert not [value for value in (*SECRETS.values(), *STORES.values()) if value.splitlines()[0] in told.split()]
    assert "MLFLOW_TRACKING_USERNAME" not in told
    for option in ("--rm", "--read-only", "--cap-drop ALL", "--security-opt no-new-privileges"):
        assert f" {option} " in told
    assert told.endswith(" ml-lifecycle-pipelines:local kedro run --env minio")


@pytest.mark.parametrize(
    ("script", "variable"), [("deploy/train", "MODEL_SIGNING_KEY"), ("deploy/in-stack", "SIGNING_KEY")]
)
@pytest.mark.parametrize("given", ["itself", "its path", "nothing"])
def test_the_key_to_sign_with(machine: Machine, script: str, variable: str, given: str) -> None:
    """The container gets the key, whether a variable holds it or its path; without one it is that of `make keys`."""
    key = SECRETS["MODEL_SIGNING_KEY"]
    (machine.path / "team.key").write_text(key, encoding="utf-8")
    (machine.path / ".keys/signing.key").write_text(key, encoding="utf-8")
    others = {name: value for name, value in SECRETS.items() if name != "MODEL_SIGNING_KEY"}
    named = {"itself": {"MODEL_SIGNING_KEY": key}, "its path": {"MODEL_SIGNING_KEY": "team.key"}, "nothing": {}}[given]
    ended = machine.run(script, "kedro", "run", **others, **STORES, **named)
    assert ended.returncode == 0, ended.stderr
    assert f"\n{variable}={key}\n" in "\n" + (machine.path / "notes.keys").read_text(encoding="utf-8")
    assert "BEGIN" not in machine.notes


def test_training_in_an_image_of_a_registry(machine: Machine) -> None:
    """Named by its digest, which is what the record will say."""
    image = f"ghcr.io/acme/flights/pipelines@{DIGEST}"
    ended = machine.run("deploy/train", **SECRETS, **STORES, PIPELINES_IMAGE=image, KEDRO_ENV="aws")
    assert ended.returncode == 0, ended.stderr
    assert "inspect" not in machine.notes
    assert machine.notes.endswith(f" {image} kedro run --env aws\n")


@pytest.mark.parametrize("missing", ["AWS_SECRET_ACCESS_KEY", "MODEL_SIGNING_KEY", "MLFLOW_TRACKING_URI"])
def test_training_lacks_something(machine: Machine, missing: str) -> None:
    """What is missing is named, before anything is started."""
    given = {name: value for name, value in {**SECRETS, **STORES}.items() if name != missing}
    ended = machine.run("deploy/train", **given)
    assert ended.returncode != 0
    assert f"{missing}: is " in ended.stderr
    assert not (machine.path / "notes").exists()


def test_published_images_are_told_by_digest(machine: Machine) -> None:
    """In lower case, by commit, and with the digest of this registry; to the jobs after it, and in the summary."""
    git = ("git", "-c", "user.name=Test", "-c", "user.email=test@example.org")
    machine.run("git", "init", "--quiet")
    machine.run(*git, "commit", "--quiet", "--allow-empty", "--message", "Start")
    commit = machine.run("git", "rev-parse", "HEAD").stdout.strip()
    files = {name: str(machine.path / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    ended = machine.run("deploy/publish", GITHUB_REPOSITORY="Acme/Flights", **files)
    assert ended.returncode == 0, ended.stderr
    assert f"tag ml-lifecycle-api:local ghcr.io/acme/flights/api:{commit}\n" in machine.notes
    pinned = [f"ghcr.io/acme/flights/{name}@{DIGEST}" for name in ("tracking", "api", "pipelines")]
    assert ended.stdout.splitlines() == pinned
    assert (machine.path / "GITHUB_OUTPUT").read_text(encoding="utf-8").splitlines()[-1] == f"pipelines={pinned[-1]}"
    assert f"* `{pinned[-1]}`" in (machine.path / "GITHUB_STEP_SUMMARY").read_text(encoding="utf-8")


def test_the_token_reaches_docker_by_its_input(machine: Machine) -> None:
    """And not by its command line."""
    given = {"GITHUB_ACTOR": "somebody", "GITHUB_TOKEN": "a-token"}
    ended = machine.run("make", "registry-login", **given)
    assert ended.returncode == 0, ended.stderr
    assert machine.notes == "login ghcr.io --username somebody --password-stdin\na-token\n"


@pytest.mark.parametrize("lines", ["-----BEGIN PUBLIC KEY-----\nabc", "-----BEGIN PUBLIC KEY-----\\nabc"])
def test_the_public_key_of_a_variable(machine: Machine, lines: str) -> None:
    """With line ends, or with what stands for them."""
    ended = machine.run("make", "public-key", MODEL_PUBLIC_KEY=lines)
    assert ended.returncode == 0, ended.stderr
    kept = (machine.path / ".keys/signing.pub").read_text(encoding="utf-8")
    assert kept == "-----BEGIN PUBLIC KEY-----\nabc\n"


def test_a_pair_of_ones_own_is_not_overwritten(machine: Machine) -> None:
    """Its public half would be lost."""
    (machine.path / ".keys/signing.key").touch()
    ended = machine.run("make", "public-key", MODEL_PUBLIC_KEY="abc")
    assert ended.returncode != 0
    assert "holds a pair of its own" in ended.stderr
    assert (machine.path / ".keys/signing.pub").read_text(encoding="utf-8") == ""


@pytest.mark.parametrize(
    "text", ["$(shell touch pwned)", "$(touch pwned)", "`touch pwned`", '"; touch pwned; "', "--help"]
)
def test_what_somebody_typed_is_not_executed(machine: Machine, text: str) -> None:
    """Neither by make nor by the shell: it arrives as it is."""
    for name in (
        "pyproject.toml",
        "requirements/uv.txt",
        "requirements/build.txt",
        "requirements/dev.txt",
        ".env.example",
        ".env",
    ):
        (machine.path / name).parent.mkdir(exist_ok=True)
        (machine.path / name).touch()
    (machine.path / ".venv/bin").mkdir(parents=True)
    (machine.path / ".venv/bin/python").symlink_to(sys.executable)
    (machine.path / ".venv/.complete").touch()
    as_service = machine.run("make", "promote", **dict.fromkeys(("VERSION", "REASON", "SERVICE"), text), **STORES)
    as_version = machine.run("make", "promote", **dict.fromkeys(("VERSION", "REASON"), text), **STORES)
    assert f"'{text}' is no address of a service" in as_service.stderr
    assert f"'{text}' names no version" in as_version.stderr
    assert not (machine.path / "pwned").exists()
