"""What must hold for manifests, each rule a function from the manifests of an overlay to complaints."""

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import network
from manifests import Container, Manifest, Pod, containers, dig, name_of, of_kind, pods, selects

Rule = Callable[[list[Manifest]], list[str]]
NAMESPACE = "ml-lifecycle"
#: Made by `deploy/deploy.py` from .env and .keys, or by whoever renews certificates.
MADE_ELSEWHERE = {"ConfigMap/verifying-keys"}
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
RESOURCES = ("cpu", "memory", "ephemeral-storage")
GPU = "nvidia.com/gpu"
_SECRET_NAME = re.compile(r"SECRET|PASSWORD|TOKEN|API_KEY|ACCESS_KEY|HASHES|SIGNING_KEY$")
_PASSWORD_IN_ADDRESS = re.compile(r"://[^/@\s]*:(?!\$\()[^/@\s]+@")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY")
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_TAG = re.compile(r"[^:@]+:(?!latest$)[\w.-]+")
_UNITS = {
    "": 1,
    "m": Decimal("0.001"),
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
}
#: Kinds of volumes that Pod Security's `restricted` allows.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def users_are_numbers_and_not_root(manifests: list[Manifest]) -> list[str]:
    """Kubernetes can see that no container is root, without asking the image."""
    return [
        f"{each}: runs as user {each.security.get('runAsUser')}, group {each.security.get('runAsGroup')}, "
        f"runAsNonRoot {each.security.get('runAsNonRoot')}"
        for each in containers(manifests)
        if each.security.get("runAsNonRoot") is not True
        or any(
            type(each.security.get(key)) is not int or each.security[key] <= 0 for key in ("runAsUser", "runAsGroup")
        )
    ]


def root_file_systems_are_read_only(manifests: list[Manifest]) -> list[str]:
    """What a container writes goes to a volume; each has one for temporary files."""
    return [
        *(
            f"{each}: its root file system can be written"
            for each in _without(manifests, "readOnlyRootFilesystem", True)
        ),
        *(f"{each}: has no volume at /tmp" for each in containers(manifests) if "/tmp" not in _mounts(each)),  # noqa: S108 - in a container
    ]


def capabilities_are_dropped(manifests: list[Manifest]) -> list[str]:
    """All of them, and none is added."""
    return [
        f"{each}: has capabilities {each.security.get('capabilities')}"
        for each in containers(manifests)
        if each.security.get("capabilities") != {"drop": ["ALL"]}
    ]


def privileges_do_not_grow(manifests: list[Manifest]) -> list[str]:
    """No container is privileged, or may become it."""
    return [
        *(f"{each}: may escalate privileges" for each in _without(manifests, "allowPrivilegeEscalation", False)),
        *(f"{each}: is privileged" for each in containers(manifests) if each.security.get("privileged")),
    ]


def system_calls_are_filtered(manifests: list[Manifest]) -> list[str]:
    """By the filter of the container runtime."""
    return [f"{each}: no seccomp filter" for each in _without(manifests, "seccompProfile", {"type": "RuntimeDefault"})]


def _without(manifests: list[Manifest], key: str, value: Any) -> list[Container]:
    return [each for each in containers(manifests) if each.security.get(key) != value]


def _mounts(container: Container) -> dict[str, str]:
    return {mount["mountPath"]: mount["name"] for mount in container.spec.get("volumeMounts", [])}


def pods_are_restricted(manifests: list[Manifest]) -> list[str]:
    """The namespace refuses what Pod Security's `restricted` forbids; so nothing of the host is used here."""
    found = [
        f"{name_of(each)}: does not enforce Pod Security restricted"
        for each in of_kind(manifests, "Namespace")
        if each["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted"
    ]
    for pod in pods(manifests):
        found += [f"{pod}: {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.spec.get(key)]
        found += [f"{pod}: sysctls" for _ in pod.spec.get("securityContext", {}).get("sysctls", [])]
        for volume in pod.spec.get("volumes", []):
            found += [f"{pod}: volume {volume['name']} is a {kind}" for kind in set(volume) - VOLUMES - {"name"}]
        for container in pod.containers:
            ports = container.spec.get("ports", [])
            found += [f"{container}: takes port {port['hostPort']} of the host" for port in ports if "hostPort" in port]
            found += [f"{container}: procMount" for key in ("procMount",) if key in container.security]
    return found


def resources_are_bounded(manifests: list[Manifest]) -> list[str]:
    """Each container asks for what it needs, and may take so much and no more; so do volumes on nodes."""
    found = []
    for each in containers(manifests):
        requests, limits = (each.spec.get("resources", {}).get(key, {}) for key in ("requests", "limits"))
        for resource in RESOURCES:
            if resource not in requests or resource not in limits:
                found.append(f"{each}: no request or no limit of {resource}")
            elif _amount(requests[resource]) > _amount(limits[resource]):
                found.append(f"{each}: asks for more {resource} than it may take")
    return found + [
        f"{pod}: volume {volume['name']} has no limit"
        for pod in pods(manifests)
        for volume in pod.spec.get("volumes", [])
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]
    ]


def _amount(quantity: Any) -> Decimal:
    matched = re.fullmatch(r"([\d.]+)([A-Za-z]*)", str(quantity))
    assert matched, f"{quantity} is no quantity of Kubernetes"
    number, unit = matched.groups()
    return Decimal(number) * _UNITS[unit]


def health_is_probed(manifests: list[Manifest]) -> list[str]:
    """Each container that is to run on: whether it has started, can be asked, and lives. What it names exists."""
    found = []
    for pod in pods(manifests):
        for each in pod.containers:
            if not pod.is_long_running or each.is_init:
                continue
            found += [f"{each}: no {probe}" for probe in PROBES if probe not in each.spec]
            asked = [each.spec[probe]["httpGet"]["port"] for probe in PROBES if "httpGet" in each.spec.get(probe, {})]
            found += [
                f"{each}: a probe asks port {port}, which it has not" for port in asked if port not in _named(each)
            ]
    return found


def _named(container: Container) -> set[Any]:
    ports = container.spec.get("ports", [])
    return {port["containerPort"] for port in ports} | {port.get("name") for port in ports}


def images_are_named_exactly(manifests: list[Manifest]) -> list[str]:
    """A tag other than `latest`, or a digest."""
    return [
        f"{each}: image {each.spec['image']}"
        for each in containers(manifests)
        if not _DIGEST.search(each.spec["image"]) and not _TAG.fullmatch(each.spec["image"].rpartition("/")[2])
    ]


def images_have_digests(manifests: list[Manifest]) -> list[str]:
    """For where a tag that is moved must not change what runs."""
    return [
        f"{each}: image {each.spec['image']} has no digest"
        for each in containers(manifests)
        if not _DIGEST.search(each.spec["image"])
    ]


def secrets_are_references(manifests: list[Manifest]) -> list[str]:
    """No manifest holds one, as an object, a variable, a word of a command, or in a ConfigMap."""
    found = [f"{name_of(each)}: a Secret in Git" for each in of_kind(manifests, "Secret")]
    for each in containers(manifests):
        pairs = each.variables.items()
        found += [
            f"{each}: {name} has a value" for name, value in pairs if _SECRET_NAME.search(name) and value[:1] != "/"
        ]
    for each in manifests:
        pairs = each.get("data", {}).items() if each["kind"] == "ConfigMap" else ()
        found += [f"{name_of(each)}: {name} is a secret" for name, _ in pairs if _SECRET_NAME.search(name)]
        texts = list(_texts(each))
        found += [f"{name_of(each)}: a private key" for text in texts if _PRIVATE_KEY.search(text)]
        found += [f"{name_of(each)}: a password in an address" for text in texts if _PASSWORD_IN_ADDRESS.search(text)]
    return found


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _texts(child)


def nobody_speaks_to_kubernetes(manifests: list[Manifest]) -> list[str]:
    """Pods have an account of their own that can do nothing, no token of it, and no variables about Services."""
    accounts = {each["metadata"]["name"]: each for each in of_kind(manifests, "ServiceAccount")}
    found = [
        f"{name_of(each)}: its token is mounted"
        for each in accounts.values()
        if each.get("automountServiceAccountToken") is not False
    ]
    for pod in pods(manifests):
        if pod.spec.get("automountServiceAccountToken") is not False:
            found.append(f"{pod}: a token is mounted")
        if pod.spec.get("serviceAccountName") not in accounts:
            found.append(f"{pod}: no account of its own")
        if pod.spec.get("enableServiceLinks") is not False:
            found.append(f"{pod}: variables of Services, which API_PORT and MLFLOW_PORT would be among")
    return found + [
        f"{name_of(each)}: nobody here needs it"
        for each in of_kind(manifests, "Role", "RoleBinding", "ClusterRoleBinding")
    ]


def selectors_find_pods(manifests: list[Manifest]) -> list[str]:
    """Each selector takes pods that are there: of Deployments their own, of Services those that have its ports."""
    everybody = pods(manifests)
    found = []
    for pod in everybody:
        if pod.is_long_running and not selects(pod.manifest["spec"]["selector"], pod.labels):
            found.append(f"{pod}: its selector does not find its own pods")
        found += [
            f"{pod}: is spread among others than its own pods"
            for spread in pod.spec.get("topologySpreadConstraints", [])
            if not selects(spread["labelSelector"], pod.labels)
        ]
    for each in of_kind(manifests, "NetworkPolicy", "PodDisruptionBudget"):
        for selector in _selectors(each):
            if not any(selects(selector, pod.labels) for pod in everybody):
                found.append(f"{name_of(each)}: selects no pod")
            found += [
                f"{name_of(each)}: names {name}, which is not there" for name in _named_in(selector) - _names(everybody)
            ]
    for service in of_kind(manifests, "Service"):
        behind = [pod for pod in everybody if selects({"matchLabels": service["spec"]["selector"]}, pod.labels)]
        if not behind:
            found.append(f"{name_of(service)}: selects no pod")
        found += [
            f"{name_of(service)}: {pod} has no port {port['targetPort']}"
            for pod in behind
            for port in service["spec"]["ports"]
            if not any(port["targetPort"] in _named(container) for container in pod.containers)
        ]
    return found


def _selectors(manifest: Manifest) -> Iterator[Manifest]:
    spec = manifest["spec"]
    if manifest["kind"] == "PodDisruptionBudget":
        yield spec["selector"]
        return
    yield spec["podSelector"]
    for rule in [*spec.get("ingress", []), *spec.get("egress", [])]:
        for peer in [*rule.get("from", []), *rule.get("to", [])]:
            if "podSelector" in peer and "namespaceSelector" not in peer:
                yield peer["podSelector"]


def _named_in(selector: Manifest) -> set[str]:
    listed = (each.get("values", []) for each in selector.get("matchExpressions", []))
    return {name for names in listed for name in names}


def _names(everybody: list[Pod]) -> set[str]:
    return {pod.labels.get("app.kubernetes.io/name", "") for pod in everybody}


def references_lead_somewhere(manifests: list[Manifest]) -> list[str]:
    """What a manifest names is there: what is scaled, the Service behind a host or a StatefulSet, settings, volumes."""
    there = {name_of(each) for each in manifests} | MADE_ELSEWHERE
    found = [f"{name_of(owner)}: {name} is not there" for owner, name in _references(manifests) if name not in there]
    for ingress in of_kind(manifests, "Ingress"):
        hosts = {host for tls in ingress["spec"].get("tls", []) for host in tls["hosts"] if tls.get("secretName")}
        found += [
            f"{name_of(ingress)}: {rule.get('host')} has no TLS"
            for rule in ingress["spec"]["rules"]
            if rule.get("host") not in hosts
        ]
    for each in containers(manifests):
        volumes = {volume["name"] for volume in each.pod.spec.get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in each.pod.manifest["spec"].get("volumeClaimTemplates", [])}
        found += [f"{each}: volume {name} is not there" for name in _mounts(each).values() if name not in volumes]
    return found


def _references(manifests: list[Manifest]) -> Iterator[tuple[Manifest, str]]:
    for each in of_kind(manifests, "HorizontalPodAutoscaler"):
        yield each, "{kind}/{name}".format(**each["spec"]["scaleTargetRef"])
    for each in of_kind(manifests, "StatefulSet"):
        yield each, f"Service/{each['spec'].get('serviceName')}"
    for each in of_kind(manifests, "Ingress"):
        paths = (path for rule in each["spec"]["rules"] for path in rule["http"]["paths"])
        yield from ((each, f"Service/{path['backend']['service']['name']}") for path in paths)
    for pod in pods(manifests):
        yield from ((pod.manifest, f"ConfigMap/{name}") for name in _config_maps(pod))


def _config_maps(pod: Pod) -> Iterator[str]:
    sources = [volume.get("configMap") for volume in pod.spec.get("volumes", [])]
    for each in pod.containers:
        sources += [entry.get("valueFrom", {}).get("configMapKeyRef") for entry in each.spec.get("env", [])]
        sources += [entry.get("configMapRef") for entry in each.spec.get("envFrom", [])]
    yield from (source["name"] for source in sources if source)


def ports_of_services_are_reachable(manifests: list[Manifest]) -> list[str]:
    """Somebody may connect to each port of a Service, on both ends."""
    made, taken = network.allowed(manifests)
    reached = {(whom, port) for _, whom, port in made & taken}
    found = []
    for service in of_kind(manifests, "Service"):
        for end in network.ends_of(manifests):
            if not selects({"matchLabels": service["spec"]["selector"]}, end.labels):
                continue
            numbers = {port for port, name in end.ports.items() if (end.name, port) in reached for port in (port, name)}
            found += [
                f"{name_of(service)}: nobody may connect to port {port['port']}"
                for port in service["spec"]["ports"]
                if port["targetPort"] not in numbers
            ]
    return found


def servers_are_reachable(manifests: list[Manifest]) -> list[str]:
    """Whoever is told of a server, and may speak to it: its Service has that port, or it is outside."""
    made, taken = network.allowed(manifests)
    services = {each["metadata"]["name"]: each["spec"] for each in of_kind(manifests, "Service")}
    found = []
    for container, host, port in network.addresses(manifests):
        who = container.pod.labels.get("app.kubernetes.io/name", "")
        if host not in services:
            whom, number = ("internet", port) if "." in host else (host, port)
        else:
            ports = [each for each in services[host]["ports"] if each["port"] == port]
            whom, number = host, _number(manifests, services[host], ports[0]["targetPort"]) if ports else -1
        if (who, whom, number) not in made & taken:
            found.append(f"{container}: is told of {host}:{port}, and cannot get there")
    return found


def _number(manifests: list[Manifest], service: Manifest, port: Any) -> int:
    (end,) = (end for end in network.ends_of(manifests) if selects({"matchLabels": service["selector"]}, end.labels))
    return next(number for number, name in end.ports.items() if port in (number, name))


def connections_are(declared: set[network.Connection]) -> Rule:
    """Make the rule that exactly these connections are allowed, each on both ends."""

    def rule(manifests: list[Manifest]) -> list[str]:
        made, taken = network.allowed(manifests)
        return [
            *(f"{who} may not connect to {whom}:{port}" for who, whom, port in sorted(declared - made)),
            *(f"{whom} takes nothing from {who} at {port}" for who, whom, port in sorted(declared - taken)),
            *(
                f"{who} may connect to {whom}:{port}, which is not declared"
                for who, whom, port in sorted((made & taken) - declared)
            ),
        ]

    return rule


def policies_are_whole(manifests: list[Manifest]) -> list[str]:
    """What one end allows the other does, too, and each pod is closed in both directions."""
    made, taken = network.allowed(manifests)
    ours = {end.name for end in network.ends_of(manifests)}
    return [
        *(
            f"{who} may connect to {whom}:{port}, which does not take it"
            for who, whom, port in sorted(made - taken)
            if {who, whom} <= ours
        ),
        *(
            f"{whom}:{port} takes {who}, who may not connect"
            for who, whom, port in sorted(taken - made)
            if {who, whom} <= ours
        ),
        *(
            f"{pod}: is open for {direction}"
            for pod in pods(manifests)
            for direction in ("Ingress", "Egress")
            if not any(
                direction in policy["spec"]["policyTypes"] and selects(policy["spec"]["podSelector"], pod.labels)
                for policy in of_kind(manifests, "NetworkPolicy")
            )
        ),
    ]


def rollouts_leave_no_gap(manifests: list[Manifest]) -> list[str]:
    """A new pod answers before an old one ends, which gets no more callers and has the time that it takes to end."""
    found = []
    for each in of_kind(manifests, "Deployment"):
        (pod,) = pods([each])
        if dig(each, ("spec", "strategy", "rollingUpdate")).get("maxUnavailable") != 0:
            found.append(f"{pod}: takes pods away before there are new ones")
        for container in pod.containers:
            if container.is_init:
                continue
            pause = dig(container.spec, ("lifecycle", "preStop", "sleep")).get("seconds", 0)
            if not pause:
                found.append(f"{container}: ends while callers still come")
            needed = pause + float(container.variables.get("API_SHUTDOWN_SECONDS", 0))
            if pod.spec.get("terminationGracePeriodSeconds", 30) <= needed:
                found.append(f"{container}: is ended before the {needed:.0f} s that it may need")
    return found


def scaling_decides_alone(manifests: list[Manifest]) -> list[str]:
    """What is scaled has no number of its own, and may not fall to one pod."""
    found = []
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        spec = scaler["spec"]
        target = [
            each
            for each in of_kind(manifests, spec["scaleTargetRef"]["kind"])
            if each["metadata"]["name"] == spec["scaleTargetRef"]["name"]
        ]
        found += [
            f"{name_of(each)}: has replicas, which {name_of(scaler)} decides"
            for each in target
            if "replicas" in each["spec"]
        ]
        if not 1 < spec.get("minReplicas", 1) < spec["maxReplicas"]:
            found.append(f"{name_of(scaler)}: from {spec.get('minReplicas', 1)} to {spec['maxReplicas']} pods")
    return found


def budgets_protect_what_has_several(manifests: list[Manifest]) -> list[str]:
    """A Deployment of several pods loses one at a time when nodes are emptied, and can lose one."""
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in of_kind(manifests, "HorizontalPodAutoscaler")}
    budgets = list(of_kind(manifests, "PodDisruptionBudget"))
    found = [
        f"{name_of(each)}: allows {each['spec'].get('maxUnavailable')} to be away"
        for each in budgets
        if each["spec"].get("maxUnavailable") != 1
    ]
    for pod in pods(manifests):
        several = pod.manifest["metadata"]["name"] in scaled or pod.manifest["spec"].get("replicas", 1) > 1
        protected = any(selects(each["spec"]["selector"], pod.labels) for each in budgets)
        if pod.manifest["kind"] == "Deployment" and several and not protected:
            found.append(f"{pod}: has several pods and no budget")
    return found


def jobs_end(manifests: list[Manifest]) -> list[str]:
    """After a number of attempts and a time, and those by the clock one after the other."""
    jobs = [(each, each["spec"]) for each in of_kind(manifests, "Job")]
    for each in of_kind(manifests, "CronJob"):
        jobs.append((each, each["spec"]["jobTemplate"]["spec"]))
    found = [
        f"{name_of(each)}: no {key}"
        for each, spec in jobs
        for key in ("backoffLimit", "activeDeadlineSeconds")
        if key not in spec
    ]
    for each in of_kind(manifests, "CronJob"):
        if each["spec"].get("concurrencyPolicy") != "Forbid":
            found.append(f"{name_of(each)}: two at a time")
        if "startingDeadlineSeconds" not in each["spec"]:
            found.append(f"{name_of(each)}: no startingDeadlineSeconds")
    return found


def retraining_is_training(manifests: list[Manifest]) -> list[str]:
    """By the clock happens what happens once for an image, whose name is recorded."""
    (training,) = (each for each in of_kind(manifests, "Job") if each["metadata"]["name"] == "training")
    found = [
        f"{name_of(each)}: differs from Job/training"
        for each in of_kind(manifests, "CronJob")
        if each["spec"]["jobTemplate"]["spec"] != training["spec"]
    ]
    return found + [
        f"{each}: IMAGE_DIGEST is '{each.variables['IMAGE_DIGEST']}', the image {each.spec['image']}"
        for each in containers(manifests)
        if each.variables.get("IMAGE_DIGEST", each.spec["image"]) != each.spec["image"]
    ]


def objects_are_in_the_namespace(manifests: list[Manifest]) -> list[str]:
    """All but the namespace itself, and no two have one name."""
    names = [name_of(each) for each in manifests]
    return [
        *(
            f"{name_of(each)}: is in the namespace {each['metadata'].get('namespace')}"
            for each in manifests
            if each["kind"] != "Namespace" and each["metadata"].get("namespace") != NAMESPACE
        ),
        *(f"{name}: is there twice" for name in sorted(set(names)) if names.count(name) > 1),
    ]


def gpus_are_on_their_nodes(manifests: list[Manifest]) -> list[str]:
    """Whoever asks for a GPU goes to the nodes that have one, is tolerated there, and nobody else is."""
    found = []
    for pod in pods(manifests):
        limits = [each.spec["resources"].get("limits", {}).get(GPU, 0) for each in pod.containers]
        tolerated = any(
            each.get("key") == GPU and each.get("effect") == "NoSchedule" for each in pod.spec.get("tolerations", [])
        )
        placed = f"{GPU}.present" in pod.spec.get("nodeSelector", {})
        if (any(limits), any(limits)) != (tolerated, placed):
            found.append(f"{pod}: GPUs {sum(limits)}, tolerated {tolerated}, placed {placed}")
    return found


#: What holds for every overlay.
RULES: list[Rule] = [
    users_are_numbers_and_not_root,
    root_file_systems_are_read_only,
    capabilities_are_dropped,
    privileges_do_not_grow,
    system_calls_are_filtered,
    pods_are_restricted,
    resources_are_bounded,
    health_is_probed,
    images_are_named_exactly,
    secrets_are_references,
    nobody_speaks_to_kubernetes,
    selectors_find_pods,
    references_lead_somewhere,
    ports_of_services_are_reachable,
    servers_are_reachable,
    policies_are_whole,
    rollouts_leave_no_gap,
    scaling_decides_alone,
    budgets_protect_what_has_several,
    jobs_end,
    retraining_is_training,
    objects_are_in_the_namespace,
    gpus_are_on_their_nodes,
]


def complaints(manifests: list[Manifest], *more: Rule) -> list[str]:
    """What all rules say."""
    return [complaint for rule in [*RULES, *more] for complaint in rule(manifests)]
