"""The manifests on a real API server: it takes them, refuses what they must not become, and `make deploy` works on it.

There are no nodes and no controllers; where `make deploy` waits for them, `pretended_nodes` says that all is done.
"""

import copy
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import api_server
import pytest
from api_server import ApiServer
from kustomize import OVERLAYS, PROJECT
from manifests import Manifest, find, name_of, of_kind, pods

pytestmark = pytest.mark.k8s_server
REFUSED = 'violates PodSecurity "restricted:latest"'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server for the tests of this file."""
    with api_server.running(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture
def empty(server: ApiServer) -> ApiServer:
    """The same without anything of ours in the namespace, which itself nobody here could remove."""
    kinds = "deployments,statefulsets,jobs,cronjobs,services,configmaps,secrets,networkpolicies,ingresses,pdb,hpa"
    server.kubectl("--namespace", "ml-lifecycle", "delete", kinds, "--all", check=False)
    return server


def bare_pods(manifests: list[Manifest]) -> list[Manifest]:
    """A pod from each template, since there is no controller that makes them, with the volumes that it would claim."""
    found = []
    for pod in pods(manifests):
        claims = [each["metadata"]["name"] for each in pod.manifest["spec"].get("volumeClaimTemplates", [])]
        volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
        name = pod.manifest["metadata"]["name"]
        found.append(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": "ml-lifecycle", "labels": pod.labels},
                "spec": {**pod.spec, "volumes": [*pod.spec.get("volumes", []), *volumes]},
            }
        )
    return found


def put(server: ApiServer, manifests: list[Manifest]) -> None:
    """Apply the namespace, then all."""
    server.apply(list(of_kind(manifests, "Namespace")))
    server.apply(manifests)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_server_takes_an_overlay(empty: ApiServer, built: dict[str, list[Manifest]], overlay: str) -> None:
    manifests = built[overlay]
    empty.apply(list(of_kind(manifests, "Namespace")))
    tried = empty.apply(manifests, "--dry-run=server", "--validate=strict")
    assert tried.stderr == ""  # no warnings, of Pod Security either
    done = empty.apply(manifests, "--validate=strict")
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == len(manifests)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_second_time_changes_nothing(empty: ApiServer, built: dict[str, list[Manifest]], overlay: str) -> None:
    kinds = ("deployments", "jobs", "cronjobs", "services", "networkpolicies", "hpa", "pdb", "configmaps")
    put(empty, built[overlay])
    before = {name_of(each): each["metadata"]["resourceVersion"] for each in empty.get(*kinds)}
    empty.apply(built[overlay])
    assert before == {name_of(each): each["metadata"]["resourceVersion"] for each in empty.get(*kinds)}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pod_security_admits_every_pod(empty: ApiServer, built: dict[str, list[Manifest]], overlay: str) -> None:
    put(empty, built[overlay])
    done = empty.apply(bare_pods(built[overlay]), "--dry-run=server")
    assert len(done.stdout.splitlines()) == len(pods(built[overlay]))
    assert done.stderr == ""


@pytest.mark.parametrize("key", ["runAsNonRoot", "seccompProfile", "capabilities", "allowPrivilegeEscalation"])
def test_pod_security_refuses_what_is_not_hardened(
    empty: ApiServer, built: dict[str, list[Manifest]], key: str
) -> None:
    put(empty, built["local"])
    for pod in bare_pods(copy.deepcopy(built["local"])):
        pod["spec"]["securityContext"].pop(key, None)
        for container in pod["spec"]["containers"]:
            container["securityContext"].pop(key, None)
        refused = empty.apply([pod], "--dry-run=server", check=False)
        assert REFUSED in refused.stderr, name_of(pod)


def test_a_typing_error_is_refused(empty: ApiServer, built: dict[str, list[Manifest]]) -> None:
    put(empty, built["local"])
    deployment = find(built["local"], "Deployment", "api")
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    assert "readynessProbe" in empty.apply([deployment], "--dry-run=server", check=False).stderr


@pytest.fixture
def deploy(empty: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`deploy/deploy.py` with a filled .env, speaking to the server."""
    spec = importlib.util.spec_from_file_location("deploy", PROJECT / "deploy/deploy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / ".keys").mkdir()
    for name in ("signing.key", "signing.pub"):
        (tmp_path / ".keys" / name).write_text(f"content of {name}\n", encoding="utf-8")
    example = (PROJECT / ".env.example").read_text(encoding="utf-8").splitlines()
    named = [line.partition("=")[0] for line in example if "=" in line and line[:1] != "#"]
    (tmp_path / ".env").write_text("".join(f"{name}=first\n" for name in named), encoding="utf-8")
    for name in named:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{api_server.PROGRAMS}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("KUBECONFIG", str(empty.kubeconfig))
    monkeypatch.setattr(module, "PROJECT", tmp_path)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.2)
    return module


def identities(server: ApiServer, *kinds: str) -> dict[str, str]:
    """Kind and name of what is there, with what changes only if it is made anew."""
    return {name_of(each): each["metadata"]["uid"] for each in server.get(*kinds)}


def restarts(server: ApiServer) -> set[str]:
    """The workloads that were told to start their pods anew."""
    return {
        name_of(each)
        for each in server.get("deployments", "statefulsets")
        if "annotations" in each["spec"]["template"].get("metadata", {})
    }


def test_deploying_makes_everything_and_can_be_repeated(deploy: ModuleType, empty: ApiServer) -> None:
    with api_server.pretended_nodes(empty):
        told = deploy.k8s("local")
        before = identities(empty, "deployments", "jobs", "secrets", "configmaps")
        deploy.k8s("local")
        after = identities(empty, "deployments", "jobs", "secrets", "configmaps")
    assert {name for name in before if before[name] != after[name]} == {"Job/minio-init"}
    assert before.keys() == after.keys()
    assert {f"Secret/{name}" for name in ("database", "minio", "pipelines", "serving", "signing", "tracking")} < set(
        after
    )
    assert restarts(empty) == set()
    assert told[0].startswith("predictions: ")


def test_a_changed_secret_starts_its_users_anew(deploy: ModuleType, empty: ApiServer) -> None:
    with api_server.pretended_nodes(empty):
        deploy.k8s("local")
        file = deploy.PROJECT / ".env"
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("POSTGRES_PASSWORD=first", "POSTGRES_PASSWORD=second"), encoding="utf-8")
        deploy.k8s("local")
    assert restarts(empty) == {"Deployment/mlflow", "StatefulSet/postgres"}


def test_another_image_is_trained_with(
    deploy: ModuleType, empty: ApiServer, built: dict[str, list[Manifest]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with api_server.pretended_nodes(empty):
        deploy.k8s("local")
        before = identities(empty, "jobs", "cronjobs", "deployments")
        find(built["local"], "Job", "training")["spec"]["template"]["spec"]["containers"][0]["image"] = "pipelines:2"
        monkeypatch.setattr(deploy, "read_overlay", lambda overlay: built[overlay])
        deploy.k8s("local")
        after = identities(empty, "jobs", "cronjobs", "deployments")
    assert {name for name in before if before[name] != after[name]} == {"Job/minio-init", "Job/training"}


def test_a_training_at_work_is_left_alone(
    deploy: ModuleType, empty: ApiServer, built: dict[str, list[Manifest]]
) -> None:
    put(empty, built["local"])
    job = find(built["local"], "Job", "training")
    cluster = deploy.Cluster()
    assert not cluster.make_way(job)
    job["spec"]["template"]["spec"]["containers"][0]["image"] = "pipelines:2"
    with pytest.raises(deploy.DeploymentError, match=r"^Job/training has changed, and is at work\. Wait for it"):
        cluster.make_way(job)
