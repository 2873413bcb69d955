"""Who may connect to whom, as a cluster decides it from policies: both ends have to allow it."""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from manifests import Container, Manifest, Pod, containers, find, of_kind, pods, selects

#: Who, whom, and the port there.
Connection = tuple[str, str, int]
_HOST_AND_PORT = re.compile(r"^(?P<host>[a-z][a-z0-9.-]*):(?P<port>\d+)(/|$)")


@dataclass(frozen=True)
class End:
    """One end of a connection: a pod of ours, somebody in another namespace, or an address outside."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)
    namespace: str | None = None  # None: ours
    address: str | None = None
    ports: dict[int, str] = field(default_factory=dict)  # with the names that a pod gives them
    protocol: str = "TCP"
    is_pod: bool = False


def ends_of(manifests: list[Manifest]) -> list[End]:
    """Our pods as ends; the scheduled training is the same as the training."""
    found = {}
    for pod in pods(manifests):
        name = pod.labels.get("app.kubernetes.io/name", str(pod))
        found[name] = End(name, pod.labels, ports=_ports(pod), is_pod=True)
    return list(found.values())


def _ports(pod: Pod) -> dict[int, str]:
    listed = (port for container in pod.containers for port in container.spec.get("ports", []))
    return {port["containerPort"]: port.get("name", "") for port in listed}


#: Others than our pods: some we know, pods elsewhere that wear our labels, the internet, a cloud's keys of the machine.
OTHERS = [
    End("ingress", namespace="ingress-nginx"),
    End("monitoring", namespace="monitoring"),
    End("names", {"k8s-app": "kube-dns"}, namespace="kube-system", ports={53: ""}),
    End("names by UDP", {"k8s-app": "kube-dns"}, namespace="kube-system", ports={53: ""}, protocol="UDP"),
    End("Kubernetes", {"component": "kube-apiserver"}, namespace="kube-system", ports={6443: ""}),
    *(
        End(f"a foreign {name}", {"app.kubernetes.io/name": name}, namespace="elsewhere", ports={8000: "http"})
        for name in ("api", "training", "mlflow", "minio", "minio-init", "postgres")
    ),
    End("internet", address="203.0.113.5", ports=dict.fromkeys((22, 80, 443, 5432, 6443), "")),
    End("keys of the machine", address="169.254.169.254", ports={80: "", 443: ""}),
]


def allowed(manifests: list[Manifest]) -> tuple[set[Connection], set[Connection]]:
    """The connections that may be made, and those that are taken, as each end decides; others allow everything."""
    policies = list(of_kind(manifests, "NetworkPolicy"))
    ours = ends_of(manifests)
    made, taken = set(), set()
    for who in [*ours, *OTHERS]:
        for whom in [*ours, *OTHERS]:
            if not (who.is_pod or whom.is_pod) or who == whom:
                continue
            for port in whom.ports:
                connection = (who.name, whom.name, port)
                if _permits(policies, "Egress", who, whom, port):
                    made.add(connection)
                if _permits(policies, "Ingress", whom, who, port):
                    taken.add(connection)
    return made, taken


def _permits(policies: list[Manifest], direction: str, subject: End, other: End, port: int) -> bool:
    if not subject.is_pod:
        return True
    side, to = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    target = other if direction == "Egress" else subject
    mine = [each["spec"] for each in policies if selects(each["spec"]["podSelector"], subject.labels)]
    isolating = [each for each in mine if direction in each.get("policyTypes", ["Ingress"])]
    if not isolating:
        return True
    rules = (rule for each in isolating for rule in each.get(side, []))
    return any(
        (to not in rule or any(_is_peer(peer, other) for peer in rule[to]))
        and ("ports" not in rule or any(_is_port(each, target, port) for each in rule["ports"]))
        for rule in rules
    )


def _is_peer(peer: dict[str, Any], other: End) -> bool:
    if "ipBlock" in peer:
        return other.address is not None and _is_in(peer["ipBlock"], other.address)
    if other.address is not None:
        return False
    namespaces = peer.get("namespaceSelector")
    if namespaces is None:
        in_place = other.namespace is None
    else:
        in_place = selects(namespaces, {"kubernetes.io/metadata.name": other.namespace or "ml-lifecycle"})
    return in_place and selects(peer.get("podSelector", {}), other.labels)


def _is_in(block: dict[str, Any], address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return ip in ipaddress.ip_network(block["cidr"]) and not any(
        ip in ipaddress.ip_network(part) for part in block.get("except", [])
    )


def _is_port(rule: dict[str, Any], target: End, port: int) -> bool:
    if rule.get("protocol", "TCP") != target.protocol:
        return False
    named = rule.get("port")
    return named is None or named == port or named == target.ports[port]


def addresses(manifests: list[Manifest]) -> Iterator[tuple[Container, str, int]]:
    """Host and port of each server that a container is told of."""
    for container in containers(manifests):
        for value in variables(manifests, container).values():
            if found := _host_and_port(value):
                yield container, *found


def variables(manifests: list[Manifest], container: Container) -> dict[str, str]:
    """The environment variables of a container, those of ConfigMaps included."""
    told = dict(container.variables)
    for entry in container.spec.get("env", []):
        if source := entry.get("valueFrom", {}).get("configMapKeyRef"):
            told[entry["name"]] = find(manifests, "ConfigMap", source["name"])["data"][source["key"]]
    for entry in container.spec.get("envFrom", []):
        if source := entry.get("configMapRef"):
            told = find(manifests, "ConfigMap", source["name"])["data"] | told
    return told


def _host_and_port(value: str) -> tuple[str, int] | None:
    if "$(" in value or "@" in value:  # made of other variables; an image
        return None
    if "://" in value:
        url = urlsplit(value)
        return url.hostname or "", url.port or {"http": 80, "https": 443}[url.scheme]
    found = _HOST_AND_PORT.match(value)
    return (found["host"], int(found["port"])) if found else None
