"""Manifests as Python sees them: what is in an overlay, and the pods it leads to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]
#: Where each kind keeps the template of its pods.
TEMPLATES = {
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "Pod": (),
}
#: Kinds whose pods are to end.
ENDING = ("Job", "CronJob")


@dataclass(frozen=True)
class Container:
    """A container, and the pod it is in."""

    pod: "Pod"
    spec: Manifest
    is_init: bool

    def __str__(self) -> str:
        """The owner, and the container's name."""
        return f"{self.pod}, {self.spec['name']}"

    @property
    def security(self) -> Manifest:
        """What holds for it: its own word goes before the pod's."""
        return {**self.pod.spec.get("securityContext", {}), **self.spec.get("securityContext", {})}

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that stand in the manifest as they are."""
        return {entry["name"]: entry["value"] for entry in self.spec.get("env", []) if "value" in entry}


@dataclass(frozen=True)
class Pod:
    """The pod that a manifest leads to."""

    manifest: Manifest
    template: Manifest

    def __str__(self) -> str:
        """Kind and name of the owner."""
        return name_of(self.manifest)

    @property
    def spec(self) -> Manifest:
        """What the pod is made of."""
        return self.template.get("spec", {})

    @property
    def labels(self) -> dict[str, str]:
        """What selectors look at."""
        return self.template.get("metadata", {}).get("labels", {})

    @property
    def is_long_running(self) -> bool:
        """Whether it is to run until somebody ends it."""
        return self.manifest["kind"] not in ENDING

    @property
    def containers(self) -> list[Container]:
        """All containers, those that run first included."""
        return [
            Container(self, spec, is_init=key == "initContainers")
            for key in ("initContainers", "containers")
            for spec in self.spec.get(key, [])
        ]


def name_of(manifest: Manifest) -> str:
    """Kind and name."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def pods(manifests: list[Manifest]) -> list[Pod]:
    """The pods that manifests lead to."""
    return [Pod(each, dig(each, TEMPLATES[each["kind"]])) for each in manifests if each["kind"] in TEMPLATES]


def containers(manifests: list[Manifest]) -> list[Container]:
    """The containers of all pods."""
    return [container for pod in pods(manifests) for container in pod.containers]


def of_kind(manifests: list[Manifest], *kinds: str) -> Iterator[Manifest]:
    """The manifests of some kinds."""
    return (each for each in manifests if each["kind"] in kinds)


def find(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """The manifest of a kind and a name; of a ConfigMap, the name without the digest of its content."""
    (found,) = (
        each
        for each in of_kind(manifests, kind)
        if each["metadata"]["name"] == name or (kind == "ConfigMap" and each["metadata"]["name"].startswith(f"{name}-"))
    )
    return found


def dig(manifest: Manifest, path: tuple[str, ...]) -> Manifest:
    """What lies at a path; nothing if the path ends before."""
    for key in path:
        manifest = manifest.get(key, {})
    return manifest


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector, with labels or expressions, takes somebody with these labels."""
    wanted = selector.get("matchLabels", {})
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _holds(expression, labels) for expression in selector.get("matchExpressions", [])
    )


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value, among = labels.get(expression["key"]), expression.get("values", [])
    return {
        "In": value in among,
        "NotIn": value not in among,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[expression["operator"]]
