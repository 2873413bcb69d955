"""A real API server of Kubernetes on loopback, with its database, and without nodes: `make test-k8s` builds it."""

import contextlib
import json
import os
import secrets
import shutil
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from kustomize import PROJECT
from manifests import Manifest

from servers import HOST, Server, answers, free_ports

PROGRAMS = PROJECT / "build/k8s"


@dataclass(frozen=True)
class ApiServer:
    """An API server, and the file that kubectl finds it by."""

    kubeconfig: Path

    def kubectl(
        self, *arguments: str, given: str | None = None, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run kubectl against it."""
        command = [str(PROGRAMS / "kubectl"), "--kubeconfig", str(self.kubeconfig), *arguments]
        done = subprocess.run(command, check=False, input=given, capture_output=True, text=True, timeout=120)
        assert not check or done.returncode == 0, done.stderr
        return done

    def apply(self, manifests: list[Manifest], *options: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Apply manifests server-side."""
        command = ("apply", "--server-side", "--field-manager", "test", *options, "--filename", "-")
        return self.kubectl(*command, given=yaml.safe_dump_all(manifests), check=check)

    def get(self, *what: str) -> list[dict[str, Any]]:
        """What is there of some kinds, in the namespace."""
        told = self.kubectl("--namespace", "ml-lifecycle", "get", ",".join(what), "--output", "json").stdout
        return json.loads(told)["items"]


@contextlib.contextmanager
def running(folder: Path) -> Iterator[ApiServer]:
    """Start etcd and the API server; end them in the other order."""
    etcd = shutil.which("etcd")
    assert etcd is not None, "There is no `etcd` on the PATH. On Debian: apt-get install etcd-server."
    clients, peers, port = free_ports(3)
    token = secrets.token_hex(20)
    (folder / "tokens.csv").write_text(f"{token},administrator,1,system:masters\n", encoding="utf-8")
    _write_key(folder / "accounts.key")
    address = f"http://{HOST}:{clients}"
    database = Server(
        [etcd, "--name", "test", "--data-dir", str(folder / "etcd"), "--listen-client-urls", address,
         "--advertise-client-urls", address, "--listen-peer-urls", f"http://{HOST}:{peers}",
         "--initial-advertise-peer-urls", f"http://{HOST}:{peers}", "--initial-cluster", f"test=http://{HOST}:{peers}"],
        {"PATH": os.environ["PATH"]}, folder / "etcd.log", lambda: answers(f"{address}/health"),
    )  # fmt: skip
    server = Server(
        [str(PROGRAMS / "kube-apiserver"), "--etcd-servers", address, "--bind-address", HOST, "--secure-port",
         str(port), "--cert-dir", str(folder), "--service-cluster-ip-range", "10.0.0.0/24",
         "--authorization-mode", "RBAC",
         "--token-auth-file", str(folder / "tokens.csv"), "--service-account-issuer", "https://kubernetes.default.svc",
         "--service-account-key-file", str(folder / "accounts.key"),
         "--service-account-signing-key-file", str(folder / "accounts.key"), "--endpoint-reconciler-type", "none"],
        {"PATH": os.environ["PATH"]}, folder / "server.log", lambda: _is_ready(port),
    )  # fmt: skip
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(_kubeconfig(port, token)), encoding="utf-8")
    with contextlib.ExitStack() as started:
        for each in (database, server):
            started.callback(each.stop)
            each.start()
        yield ApiServer(kubeconfig)


def _write_key(file: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(key.private_bytes(*pem))


def _is_ready(port: int) -> bool:
    trusting = ssl._create_unverified_context()  # noqa: S323 - its certificate is made as it starts
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(f"https://{HOST}:{port}/readyz", timeout=5, context=trusting),
    ):
        return True
    return False


def _kubeconfig(port: int, token: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "test", "cluster": {"server": f"https://{HOST}:{port}", "insecure-skip-tls-verify": True}}
        ],
        "users": [{"name": "administrator", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "administrator"}}],
        "current-context": "test",
    }


@contextlib.contextmanager
def pretended_nodes(server: ApiServer) -> Iterator[None]:
    """Say of each workload that its pods run or have ended, as controllers and nodes would, which are not here."""
    over = threading.Event()

    def pretend() -> None:
        while not over.wait(0.2):
            for each in server.get("deployments", "statefulsets", "jobs"):
                status = _as_if_done(each)
                if status != {key: each.get("status", {}).get(key) for key in status}:
                    name = f"{each['kind']}/{each['metadata']['name']}".lower()
                    patch = json.dumps({"status": status})
                    server.kubectl(
                        "--namespace", "ml-lifecycle", "patch", name, "--subresource=status", "--type=merge",
                        "--patch", patch, check=False,
                    )  # fmt: skip

    thread = threading.Thread(target=pretend)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _as_if_done(workload: Manifest) -> Manifest:
    generation, replicas = workload["metadata"]["generation"], workload["spec"].get("replicas", 1)
    if workload["kind"] == "Job":
        now = workload["metadata"]["creationTimestamp"]
        kinds = ("SuccessCriteriaMet", "Complete")
        conditions = [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in kinds]
        return {"startTime": now, "completionTime": now, "succeeded": 1, "conditions": conditions}
    counts = ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")
    revisions = {"currentRevision": "a", "updateRevision": "a"} if workload["kind"] == "StatefulSet" else {}
    return {"observedGeneration": generation, **dict.fromkeys(counts, replicas), **revisions}
