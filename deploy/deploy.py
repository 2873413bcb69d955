"""Deploys the project: ``python deploy/deploy.py compose``, or ``k8s`` with an overlay of ``deploy/k8s/overlays``.

Checks what is needed, shows what it will do, does it, waits until all is healthy, and prints the addresses. It can be
repeated: what is there stays, what changed is replaced without a gap. Secrets come from ``.env`` and ``.keys``; they go
to the cluster through pipes, so that no command line shows them.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values

PROJECT = Path(__file__).parents[1]
OVERLAYS = PROJECT / "deploy/k8s/overlays"
NAMESPACE = "ml-lifecycle"
Manifest = dict[str, Any]
#: In this order one needs the other: stores, what sets them up, registry, a model, the service.
WAITED_FOR = (
    "StatefulSet/postgres",
    "StatefulSet/minio",
    "Job/minio-init",
    "Deployment/mlflow",
    "Job/training",
    "Deployment/api",
)
#: For a roll-out, and between two looks at a Job.
ROLLOUT_SECONDS, LOOK_SECONDS = 600, 5
#: Where to get what is missing.
SOURCES = {
    "docker": "https://docs.docker.com/engine/install",
    "kubectl": "https://kubernetes.io/docs/tasks/tools",
}
_UNSET = ("example.com", "sha256:" + "0" * 64)


class DeploymentError(Exception):
    """What is wrong, and what to do."""


def run(*command: str, given: str | None = None) -> str:
    """Run a command with a text on its standard input, and return what it prints.

    Raises:
        DeploymentError: it fails.
    """
    done = subprocess.run(command, check=False, input=given, capture_output=True, text=True)
    if done.returncode:
        raise DeploymentError(f"`{' '.join(command)}` ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def watch(*command: str) -> None:
    """Run a command whose output is for whoever waits for it.

    Raises:
        DeploymentError: it fails.
    """
    if code := subprocess.run(command, check=False).returncode:
        raise DeploymentError(f"`{' '.join(command)}` ended with {code}; above it says why.")


def need(tool: str) -> None:
    """Check that a program is there.

    Raises:
        DeploymentError: it is not.
    """
    if shutil.which(tool) is None:
        raise DeploymentError(f"There is no `{tool}` on the PATH. Install it: {SOURCES[tool]}.")


def need_answer(what: str, instead: str, *command: str) -> str:
    """Run a command that has to succeed before anything else can.

    Raises:
        DeploymentError: it does not, with what to do instead.
    """
    try:
        return run(*command)
    except DeploymentError as error:
        raise DeploymentError(f"{what}. {instead}\n{error}") from None


# ---- Settings


def settings() -> dict[str, str]:
    """The variables of .env alone: keys that the shell has for something else do not get into a cluster.

    Raises:
        DeploymentError: there is no .env.
    """
    file = PROJECT / ".env"
    if not file.exists():
        raise DeploymentError(f"{file} is missing. `make env` writes it, with random passwords.")
    return {name: value or "" for name, value in dotenv_values(file, interpolate=False).items()}


def signing_keys(found: dict[str, str]) -> dict[str, Path]:
    """The files of the private key and of the public key that is trusted.

    Raises:
        DeploymentError: one of them is not there.
    """
    named = {"signing.key": "MODEL_SIGNING_KEY", "signing.pub": "MODEL_VERIFYING_KEYS"}
    files = {
        name: PROJECT / (found.get(variable) or os.environ.get(variable) or f".keys/{name}")
        for name, variable in named.items()
    }
    for name, file in files.items():
        if not file.is_file() and os.pathsep in str(file):
            raise DeploymentError(f"{named[name]} names several keys, and a cluster gets one: name that which signs.")
        if not file.is_file():
            raise DeploymentError(
                f"There is no key for models: {named[name]} has to be the path of a file, and {file} is none. "
                "`make keys` makes a pair for development."
            )
    return files


# ---- Compose


def compose() -> list[str]:
    """Start the containers of docker-compose.yml, and return the addresses."""
    need("docker")
    need_answer("No Docker Engine answers", "Start it, or set DOCKER_HOST.", "docker", "version")
    need_answer("Docker has no `compose`", "Install its plugin: docker-compose-plugin.", "docker", "compose", "version")
    public = PROJECT / (settings().get("SIGNING_PUBLIC_KEY") or ".keys/signing.pub")
    if not public.is_file():
        raise DeploymentError(f"There is no public key {public}, which the service trusts. `make keys` makes a pair.")
    services = need_answer(
        "The settings are not complete", "`make env` completes .env.", "docker", "compose", "config", "--services"
    ).split()
    print(
        f"Builds the images of this commit, starts {', '.join(sorted(services))} on this machine, "
        "and waits until they are healthy.",
        flush=True,
    )
    watch("make", "images")
    watch("docker", "compose", "up", "--detach", "--wait")
    ports = {"predictions": ("api", "8000"), "runs and models": ("mlflow", "5000"), "objects": ("minio", "9001")}
    return [
        *(f"{what}: http://{run('docker', 'compose', 'port', *where).strip()}" for what, where in ports.items()),
        "Next: `make stack-run` trains a model, which the service then takes up.",
    ]


# ---- Kubernetes


def pods_of(manifests: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Each workload, and what its pods are made of."""
    for manifest in manifests:
        template = manifest.get("spec", {}).get("jobTemplate", manifest).get("spec", {}).get("template", {})
        if "spec" in template:
            yield manifest, template["spec"]


def secrets_asked_for(manifests: list[Manifest]) -> dict[str, set[str]]:
    """The keys of each Secret that containers ask for; a key is the name of a variable in .env."""
    asked: dict[str, set[str]] = {}
    for _, pod in pods_of(manifests):
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            for entry in container.get("env", []):
                if source := entry.get("valueFrom", {}).get("secretKeyRef"):
                    asked.setdefault(source["name"], set()).add(source["key"])
    return asked


def users_of(manifests: list[Manifest], changed: set[str]) -> list[str]:
    """The workloads whose pods have to start anew to see Secrets and keys that changed."""
    found = []
    for manifest, pod in pods_of(manifests):
        volumes = [{**volume.get("secret", {}), **volume.get("configMap", {})} for volume in pod.get("volumes", [])]
        used = {volume.get("secretName", volume.get("name")) for volume in volumes} | secrets_asked_for(
            [manifest]
        ).keys()
        if manifest["kind"] in ("Deployment", "StatefulSet") and used & changed:
            found.append(name_of(manifest))
    return found


def unset(node: Any) -> Iterator[str]:
    """The values that are still those of an example."""
    if isinstance(node, str) and any(part in node for part in _UNSET):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from unset(child)


def name_of(manifest: Manifest) -> str:
    """Kind and name."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def state_of(job: Manifest) -> str:
    """How a Job is: "Complete", "Failed", or "" while it may still become one of them."""
    conditions = job.get("status", {}).get("conditions", [])
    return next((each["type"] for each in conditions if each["status"] == "True" and each["type"] in _ENDS), "")


_ENDS = ("Complete", "Failed")


class Cluster:
    """The cluster that kubectl speaks to."""

    def __call__(self, *arguments: str, given: str | None = None) -> str:
        """Run kubectl in the namespace."""
        return run("kubectl", "--namespace", NAMESPACE, *arguments, given=given)

    def get(self, kind: str, name: str) -> Manifest:
        """What is there; empty if it is not."""
        return json.loads(self("get", kind, name, "--ignore-not-found", "--output", "json") or "{}")

    def apply(self, manifests: list[Manifest], *options: str) -> str:
        """Have the server bring about what manifests say."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        manager = ("--server-side", "--field-manager", "deploy", "--force-conflicts")
        return self("apply", *manager, *options, "--filename", "-", given=text)

    def keep(self, kind: str, name: str, content: str, *source: str) -> bool:
        """Create or renew a Secret or a ConfigMap from a text, which goes through pipes; tell whether it changed."""
        before = self.get(kind, name).get("metadata", {}).get("resourceVersion")
        of_type = ("secret", "generic") if kind == "secret" else (kind,)
        made = self("create", *of_type, name, *source, "--dry-run=client", "--output", "yaml", given=content)
        self.apply([yaml.safe_load(made)])
        return before is not None and before != self.get(kind, name)["metadata"]["resourceVersion"]

    def differs(self, job: Manifest) -> bool:
        """Whether a Job that is there would have to be replaced: what it does cannot be changed."""
        try:
            self.apply([job], "--dry-run=server")
        except DeploymentError as error:
            if "field is immutable" in str(error):
                return True
            raise
        return False

    def make_way(self, job: Manifest) -> bool:
        """Remove a Job if it has to run again: it failed, it is about something else now, or it may always run again.

        Raises:
            DeploymentError: it is about something else, and still at work.
        """
        name = job["metadata"]["name"]
        there = self.get("job", name)
        if not there:
            return True
        state = state_of(there)
        if state == "Complete" and name == "training" and not self.differs(job):
            return False
        if not state:
            if not self.differs(job):
                return False
            raise DeploymentError(
                f"Job/{name} has changed, and is at work. Wait for it (`kubectl --namespace {NAMESPACE} wait --for="
                f"condition=complete job/{name}`), or remove it (`kubectl --namespace {NAMESPACE} delete job {name}`)."
            )
        self("delete", "job", name, "--wait")
        return True

    def wait_for(self, manifest: Manifest) -> None:
        """Wait until a roll-out or a Job is done.

        Raises:
            DeploymentError: it fails, or takes too long.
        """
        name = name_of(manifest).lower()
        if manifest["kind"] != "Job":
            self("rollout", "status", name, f"--timeout={ROLLOUT_SECONDS}s")
            return
        last = time.monotonic() + manifest["spec"]["activeDeadlineSeconds"] + ROLLOUT_SECONDS
        while (state := state_of(self.get("job", manifest["metadata"]["name"]))) != "Complete":
            if state or time.monotonic() > last:
                raise DeploymentError(
                    f"{name_of(manifest)} {'failed' if state else 'does not end'}. Why: `kubectl --namespace "
                    f"{NAMESPACE} describe {name}`, `kubectl --namespace {NAMESPACE} logs {name}`. Then deploy again."
                )
            time.sleep(LOOK_SECONDS)


def read_overlay(overlay: str) -> list[Manifest]:
    """The manifests of an overlay.

    Raises:
        DeploymentError: there is no such overlay, or it is still that of the example.
    """
    known = sorted(folder.name for folder in OVERLAYS.iterdir())
    if overlay not in known:
        raise DeploymentError(f"There is no overlay {overlay!r}. Allowed: {', '.join(known)}.")
    manifests = list(yaml.safe_load_all(run("kubectl", "kustomize", str(OVERLAYS / overlay))))
    if examples := sorted(set(unset(manifests))):
        raise DeploymentError(
            f"The overlay {overlay} still has values of the example: {', '.join(examples)}. Put yours into "
            f"deploy/k8s/overlays/{overlay}, or into the overlay that it is on top of."
        )
    return manifests


def values_for(asked: dict[str, set[str]], found: dict[str, str]) -> dict[str, str]:
    """The text of each Secret, as ``NAME=value`` lines.

    Raises:
        DeploymentError: .env lacks a value.
    """
    if missing := sorted(key for keys in asked.values() for key in keys if not found.get(key)):
        raise DeploymentError(f"{', '.join(missing)} not set. Fill .env in; .env.example says what they are.")
    return {name: "".join(f"{key}={found[key]}\n" for key in sorted(keys)) for name, keys in asked.items()}


def k8s(overlay: str) -> list[str]:
    """Bring an overlay to the cluster that kubectl speaks to, and return the addresses."""
    need("kubectl")
    manifests = read_overlay(overlay)
    found = settings()
    keys, texts = signing_keys(found), values_for(secrets_asked_for(manifests), found)
    context = need_answer(
        "kubectl knows no cluster", "Name one: `kubectl config use-context`.", "kubectl", "config", "current-context"
    ).strip()
    need_answer(f"The cluster {context} does not answer", "Start it.", "kubectl", "version")
    show(manifests, context, [*texts, "signing"])
    cluster = Cluster()
    by_name = {name_of(manifest): manifest for manifest in manifests}
    cluster.apply([by_name[f"Namespace/{NAMESPACE}"]])
    made = [("secret", name, text, "--from-env-file=/dev/stdin") for name, text in texts.items()]
    for kind, name, file in (("secret", "signing", "signing.key"), ("configmap", "verifying-keys", "signing.pub")):
        made.append((kind, name, keys[file].read_text(encoding="utf-8"), f"--from-file={file}=/dev/stdin"))
    changed = {name for kind, name, text, source in made if cluster.keep(kind, name, text, source)}
    for name, manifest in by_name.items():
        if manifest["kind"] == "Job" and not cluster.make_way(manifest):
            print(f"{name} stays as it is")
    print(cluster.apply(manifests), end="")
    if stale := users_of(manifests, changed):
        print(cluster("rollout", "restart", *(name.lower() for name in stale)), end="")
    for name in WAITED_FOR:
        if name in by_name:
            print(f"waits for {name}", flush=True)
            cluster.wait_for(by_name[name])
    return addresses(manifests)


def show(manifests: list[Manifest], context: str, secrets: list[str]) -> None:
    """Print what is about to be done."""
    images = sorted({container["image"] for _, pod in pods_of(manifests) for container in pod["containers"]})
    kinds = Counter(manifest["kind"] for manifest in manifests)
    print(f"To the cluster {context}, namespace {NAMESPACE}:")
    print(f"  images   {', '.join(images)}")
    print(f"  objects  {', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}")
    print(f"  Secrets  {', '.join(sorted(secrets))}, from .env and .keys", flush=True)


def addresses(manifests: list[Manifest]) -> list[str]:
    """Where callers and people get in."""
    hosts = [rule["host"] for each in manifests if each["kind"] == "Ingress" for rule in each["spec"]["rules"]]
    forward = f"kubectl --namespace {NAMESPACE} port-forward service"
    predictions = [f"https://{host}" for host in hosts] or [f"http://127.0.0.1:8000 after `{forward}/api 8000`"]
    return [
        *(f"predictions: {address}" for address in predictions),
        f"runs and models: http://127.0.0.1:5000 after `{forward}/mlflow 5000`",
    ]


def main() -> None:
    """Deploy to where the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    targets = parser.add_subparsers(dest="target", required=True, metavar="compose|k8s")
    targets.add_parser("compose", help="containers on this machine")
    targets.add_parser("k8s", help="a Kubernetes cluster").add_argument("--overlay", default="local")
    given = parser.parse_args()
    deploy: Callable[[], list[str]] = compose if given.target == "compose" else lambda: k8s(given.overlay)
    try:
        print(*deploy(), sep="\n")
    except DeploymentError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
