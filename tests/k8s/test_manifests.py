"""The manifests of each overlay: they are valid, keep the rules, and each rule notices what breaks it."""

import copy
from dataclasses import dataclass
from typing import Any

import kubernetes_validate
import pytest
import rules
import yaml
from kubernetes_validate.utils import all_versions
from kustomize import OVERLAYS, PROJECT
from manifests import TEMPLATES, Manifest, containers, dig, find, name_of, of_kind, pods
from network import Connection
from packaging.version import Version
from rules import Rule, complaints

#: The three newest that the package knows.
VERSIONS = sorted({version.rpartition(".")[0] for version in all_versions()}, key=Version)[-3:]
NAMES = list(OVERLAYS)
INSIDE = {("api", "mlflow", 5000), ("training", "mlflow", 5000), ("ingress", "api", 8000), ("monitoring", "api", 8000)}
STORE_AND_DATABASE = {
    "local": {
        *((who, "minio", 9000) for who in ("api", "training", "mlflow", "minio-init")),
        ("mlflow", "postgres", 5432),
    },
    "production": {
        *((who, "internet", 443) for who in ("api", "training", "mlflow")),
        ("mlflow", "internet", 5432),
    },
}
STORE_AND_DATABASE["gpu"] = STORE_AND_DATABASE["production"]
PODS = {"production": {"api", "mlflow", "training"}, "gpu": {"api", "mlflow", "training"}}
PODS["local"] = PODS["production"] | {"minio", "minio-init", "postgres"}


def connections(overlay: str) -> set[Connection]:
    """All that may connect in an overlay."""
    names = {(who, names, 53) for who in PODS[overlay] for names in ("names", "names by UDP")}
    return INSIDE | STORE_AND_DATABASE[overlay] | names


def known_variables() -> set[str]:
    """The variables of .env."""
    text = (PROJECT / ".env.example").read_text(encoding="utf-8")
    return {line.partition("=")[0] for line in text.splitlines() if "=" in line and not line.startswith("#")}


def secrets_can_be_made(manifests: list[Manifest]) -> list[str]:
    """Each key of a Secret that a container asks for is a variable of .env."""
    asked = [
        (container, entry["valueFrom"]["secretKeyRef"]["key"])
        for container in containers(manifests)
        for entry in container.spec.get("env", [])
        if "secretKeyRef" in entry.get("valueFrom", {})
    ]
    return [f"{container}: {key} is no variable of .env" for container, key in asked if key not in known_variables()]


def rules_of(overlay: str) -> list[Rule]:
    """The rules for an overlay that are not for all in the same way."""
    exact = [] if overlay == "local" else [rules.images_have_digests]
    return [secrets_can_be_made, rules.connections_are(connections(overlay)), *exact]


@pytest.mark.parametrize("overlay", NAMES)
def test_overlay_keeps_the_rules(overlay: str, built: dict[str, list[Manifest]]) -> None:
    assert complaints(built[overlay], *rules_of(overlay)) == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", NAMES)
def test_overlay_is_valid(overlay: str, version: str, built: dict[str, list[Manifest]]) -> None:
    for manifest in built[overlay]:
        assert kubernetes_validate.validate(manifest, version, strict=True) == version


@pytest.mark.parametrize("version", VERSIONS)
def test_an_unknown_field_is_invalid(version: str, built: dict[str, list[Manifest]]) -> None:
    deployment = find(built["local"], "Deployment", "api")
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(deployment, version, strict=True)


REMOVED = object()
SECURITY = [
    "runAsNonRoot",
    "runAsUser",
    "runAsGroup",
    "readOnlyRootFilesystem",
    "allowPrivilegeEscalation",
    "capabilities",
    "seccompProfile",
]


@dataclass(frozen=True)
class Break:
    """A change of an overlay, and what a rule has to say of it."""

    rule: str
    where: str
    path: str
    value: Any
    complaint: str
    overlay: str

    def __str__(self) -> str:
        """The rule, the place, and what is wrong there."""
        return f"{self.rule}-{self.where}-{self.complaint}"


def read_breaks() -> list[Break]:
    """The changes in ``breaks.yaml``."""
    listed = yaml.safe_load((PROJECT / "tests/k8s/breaks.yaml").read_text(encoding="utf-8"))
    return [
        Break(
            rule,
            each["in"],
            each.get("at", ""),
            each.get("value", REMOVED),
            each["says"],
            each.get("overlay", "local"),
        )
        for rule, changes in listed.items()
        for each in changes
    ]


BREAKS = read_breaks()


def change(manifests: list[Manifest], where: str, path: str, value: Any) -> None:
    """Set, add (a path that ends in ``+``) or remove what lies at a path of a manifest; without a path, all of it."""
    manifest = find(manifests, *where.split("/"))
    if not path:
        manifests.remove(manifest)
        return
    *before, last = (int(part) if part.isdigit() else part for part in path.split("~"))
    node: Any = manifest
    for part in before:
        node = node[part]
    if last == "+":
        node.append(value)
    elif value is REMOVED:
        del node[last]
    else:
        node[last] = value


def rule_of(name: str, overlay: str) -> Rule:
    """A rule by its name."""
    if name == "connections_are":
        return rules.connections_are(connections(overlay))
    return globals().get(name) or getattr(rules, name)


@pytest.mark.parametrize("broken", BREAKS, ids=str)
def test_rule_notices(broken: Break, built: dict[str, list[Manifest]]) -> None:
    manifests = built[broken.overlay]
    rule = rule_of(broken.rule, broken.overlay)
    assert rule(manifests) == []
    change(manifests, broken.where, broken.path, broken.value)
    assert any(broken.complaint in complaint for complaint in rule(manifests)), rule(manifests)


def test_every_rule_is_seen_to_notice_something() -> None:
    others = {"connections_are", "images_have_digests", "secrets_can_be_made"}
    assert {rule.__name__ for rule in rules.RULES} | others == {broken.rule for broken in BREAKS}


@pytest.mark.parametrize("key", SECURITY)
@pytest.mark.parametrize("overlay", NAMES)
def test_security_is_asked_of_each_container(overlay: str, key: str, built: dict[str, list[Manifest]]) -> None:
    for position, container in enumerate(containers(built[overlay])):
        manifests = copy.deepcopy(built[overlay])
        same = containers(manifests)[position]
        same.spec["securityContext"] = {**same.security}
        del same.spec["securityContext"][key]
        same.pod.spec["securityContext"] = {}
        assert any(str(container) in complaint for complaint in complaints(manifests)), f"{container} without {key}"


@pytest.mark.parametrize("overlay", NAMES)
@pytest.mark.parametrize("key", ["resources", "image"])
def test_the_rest_is_asked_of_each_container(overlay: str, key: str, built: dict[str, list[Manifest]]) -> None:
    for position, container in enumerate(containers(built[overlay])):
        manifests = copy.deepcopy(built[overlay])
        containers(manifests)[position].spec[key] = {"resources": {}, "image": "image"}[key]
        assert any(str(container) in complaint for complaint in complaints(manifests)), f"{container} without {key}"


@pytest.mark.parametrize("overlay", NAMES)
def test_no_policy_and_no_part_of_one_is_too_many(overlay: str, built: dict[str, list[Manifest]]) -> None:
    """Whatever is taken out of the policies, somebody misses it."""
    own = rules_of(overlay)
    for policy in of_kind(built[overlay], "NetworkPolicy"):
        for side, part in (("ingress", "from"), ("egress", "to")):
            for number, rule in enumerate(policy["spec"].get(side, [])):
                for key in (part, "ports"):
                    for position in range(len(rule[key])):
                        manifests = copy.deepcopy(built[overlay])
                        change(manifests, name_of(policy), f"spec~{side}~{number}~{key}~{position}", REMOVED)
                        assert complaints(manifests, *own) != [], f"{name_of(policy)}: {side}, {key}, {position}"
        manifests = [each for each in built[overlay] if each is not policy]
        assert complaints(manifests, *own) != [], name_of(policy)


@pytest.mark.parametrize("overlay", NAMES)
def test_every_workload_is_a_pod_here(overlay: str, built: dict[str, list[Manifest]]) -> None:
    """No kind that has pods escapes the rules: whatever has containers is known to lead to a pod."""
    assert {each["kind"] for each in built[overlay] if "containers" in str(each)} <= set(TEMPLATES)
    assert {pod.labels["app.kubernetes.io/name"] for pod in pods(built[overlay])} == PODS[overlay]


def test_training_on_gpu_nodes_is_the_only_difference_to_production(built: dict[str, list[Manifest]]) -> None:
    own = {"Job/training", "CronJob/retraining"}
    without = {name: [each for each in built[name] if name_of(each) not in own] for name in ("gpu", "production")}
    assert without["gpu"] == without["production"]
    (container,) = next(pod for pod in pods(built["gpu"]) if str(pod) == "Job/training").containers
    assert container.spec["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_only_the_api_can_be_reached_from_outside(built: dict[str, list[Manifest]]) -> None:
    (ingress,) = of_kind(built["production"], "Ingress")
    (backend,) = {
        path["backend"]["service"]["name"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]
    }
    assert backend == "api"
    for manifests in built.values():
        assert {dig(each, ("spec",)).get("type", "ClusterIP") for each in of_kind(manifests, "Service")} == {
            "ClusterIP"
        }
