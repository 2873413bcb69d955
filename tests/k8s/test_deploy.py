"""`make deploy`: what it asks for, what it does in which order, and that it can be repeated.

Here `kubectl` and `docker` are stand-ins that write down how they are called and answer from files, since a cluster
with nodes cannot run in this suite. In `test_server.py` the same script speaks to a real API server.
"""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import kustomize
import pytest
from kustomize import PROJECT
from manifests import Manifest, find, name_of, pods

KUBECTL = """#!{python} -IS
import hashlib, json, pathlib, subprocess, sys
home = pathlib.Path({home!r})
words = sys.argv[1:]
given = "" if sys.stdin.isatty() else sys.stdin.read()
with (home / "calls").open("a") as log:
    log.write(json.dumps([words, given]) + "\\n")
if words[0] == "kustomize":
    sys.exit(subprocess.call([{kustomize!r}, "build", words[1]]))
if words[0] == "config":
    print("a-cluster")
words = words[2:] if words[0] == "--namespace" else words
if words[0] == "create":
    print(json.dumps({{"kind": words[1], "metadata": {{"name": words[-5]}}, "data": given}}))
if words[0] == "get":
    there = home / f"{{words[1]}}-{{words[2]}}.json"
    print(there.read_text() if there.exists() else "", end="")
if words[0] == "delete":
    (home / f"job-{{words[2]}}.json").unlink()
if words[0] == "apply" and "--dry-run=server" in words:
    sys.exit("Job.batch is invalid: spec.template: field is immutable" if (home / "immutable").exists() else 0)
if words[0] == "apply":
    for each in json.loads(given)["items"]:
        file = home / "{{}}-{{}}.json".format(each["kind"].lower(), each["metadata"]["name"])
        each["metadata"]["resourceVersion"] = hashlib.sha256(json.dumps(each).encode()).hexdigest()
        each["status"] = {{"conditions": [{{"type": "Complete", "status": "True"}}]}}
        file.write_text(json.dumps(each))
"""
DOCKER = """#!{python} -IS
import json, pathlib, sys
home = pathlib.Path({home!r})
words = sys.argv[1:]
with (home / "calls").open("a") as log:
    log.write(json.dumps([words, ""]) + "\\n")
answers = {{"config --services": "api", "port api": "127.0.0.1:8000",
           "port mlflow": "127.0.0.1:5000", "port minio": "127.0.0.1:9001"}}
print(answers.get(" ".join(words[1:3]), ""))
"""


@pytest.fixture(scope="module")
def deploy() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("deploy", PROJECT / "deploy/deploy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class StandIn:
    """A folder with a program that stands in for a real one, what it answers, and how it was called."""

    home: Path

    def calls(self) -> list[tuple[list[str], str]]:
        """The words of each call, and what came through the pipe; what was there before is forgotten."""
        lines = (self.home / "calls").read_text(encoding="utf-8").splitlines()
        (self.home / "calls").unlink()
        return [(words, given) for words, given in map(json.loads, lines)]

    def job(self, name: str, *conditions: str) -> None:
        """Have a Job be there, in a state."""
        listed = [{"type": condition, "status": "True"} for condition in conditions]
        (self.home / f"job-{name}.json").write_text(json.dumps({"status": {"conditions": listed}}), encoding="utf-8")


@pytest.fixture
def project(deploy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a filled .env and a pair of keys."""
    folder = tmp_path / "project"
    (folder / ".keys").mkdir(parents=True)
    for name in ("signing.key", "signing.pub"):
        (folder / ".keys" / name).write_text(f"content of {name}\n", encoding="utf-8")
    example = (PROJECT / ".env.example").read_text(encoding="utf-8").splitlines()
    named = [line.partition("=")[0] for line in example if "=" in line and line[:1] != "#"]
    for name in named:
        monkeypatch.delenv(name, raising=False)
    (folder / ".env").write_text("".join(f"{name}=value-of-{name}\n" for name in named), encoding="utf-8")
    monkeypatch.setattr(deploy, "PROJECT", folder)
    monkeypatch.setattr(deploy, "LOOK_SECONDS", 0)
    return folder


def stand_in(tool: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Put a program before all others."""
    home, folder = tmp_path / "answers", tmp_path / "bin"
    home.mkdir()
    folder.mkdir()
    script = folder / tool
    script.write_text(
        text.format(python=sys.executable, home=str(home), kustomize=kustomize.program()), encoding="utf-8"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return StandIn(home)


@pytest.fixture
def kubectl(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A stand-in for kubectl."""
    return stand_in("kubectl", KUBECTL, tmp_path, monkeypatch)


@pytest.fixture
def docker(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A stand-in for docker."""
    return stand_in("docker", DOCKER, tmp_path, monkeypatch)


def verbs(calls: list[tuple[list[str], str]]) -> list[str]:
    """What was asked of kubectl, in short."""
    words = [words[2:] if words[0] == "--namespace" else words for words, _ in calls]
    return [" ".join(each[:3]) for each in words]


@pytest.mark.parametrize("overlay", kustomize.OVERLAYS)
def test_secrets(deploy: ModuleType, built: dict[str, list[Manifest]], overlay: str) -> None:
    inside = {
        "minio": {
            "MINIO_ROOT_USER",
            "MINIO_ROOT_PASSWORD",
            "AUDITOR_ACCESS_KEY_ID",
            "AUDITOR_SECRET_ACCESS_KEY",
        }
    }
    assert deploy.secrets_asked_for(built[overlay]) == {
        "database": {"POSTGRES_PASSWORD"},
        "pipelines": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
        "serving": {"API_KEY_HASHES", "SERVING_ACCESS_KEY_ID", "SERVING_SECRET_ACCESS_KEY"},
        "tracking": {"TRACKING_ACCESS_KEY_ID", "TRACKING_SECRET_ACCESS_KEY"},
        **(inside if overlay == "local" else {}),
    }


def test_a_missing_value_is_named(deploy: ModuleType) -> None:
    with pytest.raises(deploy.DeploymentError, match=r"^B, C not set\. Fill \.env in"):
        deploy.values_for({"one": {"A", "C"}, "two": {"B"}}, {"A": "secret", "B": ""})


def test_whoever_uses_what_changed(deploy: ModuleType, built: dict[str, list[Manifest]]) -> None:
    local = built["local"]
    assert deploy.users_of(local, set()) == []
    assert deploy.users_of(local, {"serving"}) == ["Deployment/api"]
    assert deploy.users_of(local, {"verifying-keys"}) == ["Deployment/api"]
    assert sorted(deploy.users_of(local, {"database"})) == ["Deployment/mlflow", "StatefulSet/postgres"]
    assert deploy.users_of(local, {"pipelines", "signing"}) == []


@pytest.mark.parametrize("overlay", kustomize.OVERLAYS)
def test_every_workload_is_waited_for(deploy: ModuleType, built: dict[str, list[Manifest]], overlay: str) -> None:
    workloads = {str(pod) for pod in pods(built[overlay])} - {"CronJob/retraining"}
    assert workloads <= set(deploy.WAITED_FOR)
    assert {name_of(each) for each, _ in deploy.pods_of(built[overlay])} == workloads | {"CronJob/retraining"}


def test_values_of_the_example(deploy: ModuleType, built: dict[str, list[Manifest]]) -> None:
    assert list(deploy.unset(built["local"])) == []
    found = set(deploy.unset(built["production"]))
    assert {"https://s3.example.com", "flights.example.com"} < found
    assert f"registry.example.com/ml-lifecycle-api@sha256:{'0' * 64}" in found
    find(built["production"], "Ingress", "api")["spec"]["rules"][0]["host"] = "flights.site.org"
    assert deploy.addresses(built["production"])[0] == "predictions: https://flights.site.org"


@pytest.mark.parametrize(
    ("conditions", "state"),
    [
        ([], ""),
        ([{"type": "Complete", "status": "True"}], "Complete"),
        ([{"type": "FailureTarget", "status": "True"}, {"type": "Failed", "status": "True"}], "Failed"),
        ([{"type": "Failed", "status": "False"}], ""),
    ],
)
def test_state_of_a_job(deploy: ModuleType, conditions: list[Any], state: str) -> None:
    assert deploy.state_of({"status": {"conditions": conditions}}) == state


def test_does_all_in_order(deploy: ModuleType, kubectl: StandIn) -> None:
    told = deploy.k8s("local")
    calls = kubectl.calls()
    asked = verbs(calls)
    applied = [
        [name_of(each) for each in json.loads(given)["items"]]
        for words, given in calls
        if "apply" in words and "--dry-run=server" not in words
    ]
    assert applied[0] == ["Namespace/ml-lifecycle"]
    assert len(applied[-1]) == len(kustomize.build("local"))
    assert asked.index("rollout status statefulset/postgres") < asked.index("rollout status deployment/mlflow")
    assert asked[-1] == "rollout status deployment/api"
    assert told[0].startswith("predictions: http://127.0.0.1:8000 after `kubectl --namespace ml-lifecycle port-")


def test_keeps_secrets_off_command_lines(deploy: ModuleType, kubectl: StandIn, project: Path) -> None:
    deploy.k8s("local")
    calls = kubectl.calls()
    words = " ".join(word for words, _ in calls for word in words)
    assert "value-of-" not in words
    assert "content of" not in words
    through_pipes = {given for words, given in calls if "create" in words}
    assert {"POSTGRES_PASSWORD=value-of-POSTGRES_PASSWORD\n", "content of signing.key\n"} < through_pipes


def test_a_second_time_trains_nothing(deploy: ModuleType, kubectl: StandIn) -> None:
    deploy.k8s("local")
    kubectl.calls()
    deploy.k8s("local")
    asked = verbs(kubectl.calls())
    assert [each for each in asked if each.startswith("delete")] == ["delete job minio-init"]
    assert not [each for each in asked if each.startswith("rollout restart")]


def test_a_changed_secret_starts_its_users_anew(deploy: ModuleType, kubectl: StandIn, project: Path) -> None:
    deploy.k8s("local")
    kubectl.calls()
    text = (project / ".env").read_text(encoding="utf-8")
    (project / ".env").write_text(text.replace("value-of-SERVING_SECRET", "another"), encoding="utf-8")
    deploy.k8s("local")
    calls = kubectl.calls()
    assert [words[2:] for words, _ in calls if "restart" in words] == [["rollout", "restart", "deployment/api"]]
    assert "delete job minio-init" in verbs(calls)


def test_a_failed_training_is_tried_again(deploy: ModuleType, kubectl: StandIn) -> None:
    kubectl.job("training", "Failed")
    deploy.k8s("local")
    assert "delete job training" in verbs(kubectl.calls())


def test_a_finished_training_of_something_else_is_replaced(deploy: ModuleType, kubectl: StandIn) -> None:
    kubectl.job("training", "Complete")
    (kubectl.home / "immutable").touch()
    deploy.k8s("local")
    assert "delete job training" in verbs(kubectl.calls())


def test_a_training_at_work_is_left_alone(deploy: ModuleType, kubectl: StandIn) -> None:
    kubectl.job("training")
    (kubectl.home / "immutable").touch()
    with pytest.raises(deploy.DeploymentError, match=r"^Job/training has changed, and is at work\. Wait for it"):
        deploy.k8s("local")
    assert not [each for each in verbs(kubectl.calls()) if each.startswith("delete")]


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ("staging", r"^There is no overlay 'staging'\. Allowed: gpu, local, production\.$"),
        ("production", r"^The overlay production still has values of the example: .*flights\.example\.com"),
        ("gpu", r"^The overlay gpu still has values of the example"),
    ],
)
def test_refuses_an_overlay(deploy: ModuleType, kubectl: StandIn, overlay: str, message: str) -> None:
    with pytest.raises(deploy.DeploymentError, match=message):
        deploy.k8s(overlay)


def test_needs_keys(deploy: ModuleType, kubectl: StandIn, project: Path) -> None:
    (project / ".keys/signing.key").unlink()
    with pytest.raises(deploy.DeploymentError, match=r"MODEL_SIGNING_KEY has to be the path of a file, and .* none"):
        deploy.k8s("local")


def test_needs_settings(deploy: ModuleType, kubectl: StandIn, project: Path) -> None:
    (project / ".env").unlink()
    with pytest.raises(deploy.DeploymentError, match=r"\.env is missing\. `make env` writes it"):
        deploy.k8s("local")


def test_needs_the_program(deploy: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(deploy.DeploymentError, match=r"no `kubectl` on the PATH\. Install it: https://kubernetes"):
        deploy.k8s("local")


@pytest.fixture
def make(docker: StandIn) -> StandIn:
    """A stand-in for make, beside that for docker, which fails if it is told to."""
    script = docker.home.parent / "bin/make"
    log = f'echo "[[\\"make\\", \\"$1\\"], \\"\\"]" >>"{docker.home}/calls"'
    script.write_text(f'#!/bin/sh\n{log}\n[ ! -e "{docker.home}/broken" ]\n', encoding="utf-8")
    script.chmod(0o755)
    return docker


def test_builds_starts_and_prints_addresses(deploy: ModuleType, make: StandIn) -> None:
    told = deploy.compose()
    calls = [words for words, _ in make.calls()]
    up = ["compose", "up", "--detach", "--wait"]
    assert calls.index(["compose", "config", "--services"]) < calls.index(["make", "images"]) < calls.index(up)
    assert told[:3] == [
        "predictions: http://127.0.0.1:8000",
        "runs and models: http://127.0.0.1:5000",
        "objects: http://127.0.0.1:9001",
    ]


def test_starts_nothing_if_images_cannot_be_built(deploy: ModuleType, make: StandIn) -> None:
    (make.home / "broken").touch()
    with pytest.raises(deploy.DeploymentError, match=r"^`make images` ended with 1"):
        deploy.compose()
    assert not [words for words, _ in make.calls() if "up" in words]


def test_compose_needs_the_public_key(deploy: ModuleType, make: StandIn, project: Path) -> None:
    (project / ".keys/signing.pub").unlink()
    with pytest.raises(deploy.DeploymentError, match=r"^There is no public key .*signing\.pub.*`make keys`"):
        deploy.compose()
    assert not [words for words, _ in make.calls() if words[0] == "make"]


def test_a_cluster_gets_one_public_key(deploy: ModuleType, kubectl: StandIn, project: Path) -> None:
    with (project / ".env").open("a", encoding="utf-8") as file:
        file.write("MODEL_VERIFYING_KEYS=old.pub:new.pub\n")
    with pytest.raises(deploy.DeploymentError, match=r"MODEL_VERIFYING_KEYS names several keys, and a cluster gets"):
        deploy.k8s("local")


def test_keys_of_the_shell_stay_there(
    deploy: ModuleType, kubectl: StandIn, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-an-administrator")
    assert "of-an-administrator" not in deploy.settings().values()


def test_compose_needs_its_program(deploy: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(deploy.DeploymentError, match=r"no `docker` on the PATH\. Install it: https://docs\.docker"):
        deploy.compose()


@pytest.mark.parametrize("arguments", [[], ["swarm"], ["compose", "--overlay", "local"]])
def test_the_command_line_refuses(arguments: list[str]) -> None:
    command = [sys.executable, str(PROJECT / "deploy/deploy.py"), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "compose|k8s" in done.stderr
