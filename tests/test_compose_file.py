"""Rules for docker-compose.yml; what the stack does is in tests/stack."""

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from project_copy import PROJECT

FILE = PROJECT / "docker-compose.yml"
Services = dict[str, dict[str, Any]]
#: They run, do one thing, and end.
ONCE = {"minio-init", "mlflow-migrate", "pipelines"}
#: Their images say how they are asked whether they are well.
HEALTH_IN_IMAGE = {"minio": "deploy/minio/Dockerfile", "mlflow": "Dockerfile", "api": "Dockerfile"}
SECRET = re.compile(r"SECRET|PASSWORD|TOKEN|_KEY$|API_KEY")


def services() -> Services:
    """The services as YAML gives them, with merged keys."""
    return dict(yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"])


def may_do_little(found: Services) -> Iterator[str]:
    """No capabilities, no new rights, nothing to write on the root file system."""
    for name, service in found.items():
        if service.get("cap_drop") != ["ALL"] or "cap_add" in service:
            yield f"{name} has capabilities"
        if "no-new-privileges:true" not in service.get("security_opt", []):
            yield f"{name} may get rights"
        if service.get("read_only") is not True or service.get("privileged"):
            yield f"{name} may write everywhere"
        if service.get("user", "1").split(":")[0] in ("0", "root"):
            yield f"{name} is root"


def takes_a_part(found: Services) -> Iterator[str]:
    """Memory has a limit."""
    return (f"{name} has no limit" for name, service in found.items() if "mem_limit" not in service)


def is_open_here_alone(found: Services) -> Iterator[str]:
    """Ports are those of loopback, and may be others."""
    for name, service in found.items():
        for port in service.get("ports", []):
            if not re.fullmatch(r"127\.0\.0\.1:\$\{\w+_PORT:-\d+\}:\d+", port):
                yield f"{name} opens {port}"


def holds_no_password(found: Services) -> Iterator[str]:
    """What is secret comes from .env, and has no default."""
    for name, service in found.items():
        for variable, value in service.get("environment", {}).items():
            secret = SECRET.search(variable) and not variable.endswith(("_ID", "_KEYS"))
            if secret and not re.fullmatch(r"\$\{\w+:\?[^}]+\}|\$\{SIGNING_KEY:-\}", str(value)):
                yield f"{name} has {variable}"


def comes_back(found: Services) -> Iterator[str]:
    """What serves is started again and asked whether it is well; what ends is not started again."""
    for name, service in found.items():
        if service.get("restart") != ("no" if name in ONCE else "unless-stopped"):
            yield f"{name} has restart: {service.get('restart')}"
        if name not in ONCE and "healthcheck" not in service and name not in HEALTH_IN_IMAGE:
            yield f"{name} is not asked how it is"


def waits_for_others(found: Services) -> Iterator[str]:
    """Nobody starts before what it needs is well, or has done its work."""
    for name, service in found.items():
        for other, condition in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if other in ONCE else "service_healthy"
            if condition.get("condition") != expected:
                yield f"{name} does not wait for {other}"
        if name not in ("minio", "postgres") and not service.get("depends_on"):
            yield f"{name} waits for nobody"


Rule = Callable[[Services], Iterator[str]]
RULES: tuple[Rule, ...] = (
    may_do_little, takes_a_part, is_open_here_alone, holds_no_password, comes_back, waits_for_others,
)  # fmt: skip

#: What to change in a service, and the complaint.
BREACHES: list[tuple[Rule, str, dict[str, Any], str]] = [
    (may_do_little, "api", {"cap_drop": []}, "api has capabilities"),
    (may_do_little, "api", {"cap_add": ["NET_ADMIN"]}, "api has capabilities"),
    (may_do_little, "minio", {"security_opt": []}, "minio may get rights"),
    (may_do_little, "mlflow", {"read_only": False}, "mlflow may write everywhere"),
    (may_do_little, "mlflow", {"privileged": True}, "mlflow may write everywhere"),
    (may_do_little, "postgres", {"user": "0:0"}, "postgres is root"),
    (takes_a_part, "viz", {"mem_limit": None}, "viz has no limit"),
    (is_open_here_alone, "api", {"ports": ["${API_PORT:-8000}:8000"]}, "api opens ${API_PORT:-8000}:8000"),
    (is_open_here_alone, "minio", {"ports": ["0.0.0.0:9000:9000"]}, "minio opens 0.0.0.0:9000:9000"),
    (holds_no_password, "postgres", {"environment": {"POSTGRES_PASSWORD": "mlflow"}}, "postgres has POSTGRES_PASSWORD"),
    (holds_no_password, "jupyter", {"environment": {"JUPYTER_TOKEN": "${T:-a}"}}, "jupyter has JUPYTER_TOKEN"),
    (comes_back, "api", {"restart": "no"}, "api has restart: no"),
    (comes_back, "pipelines", {"restart": "always"}, "pipelines has restart: always"),
    (comes_back, "postgres", {"healthcheck": None}, "postgres is not asked how it is"),
    (waits_for_others, "mlflow", {"depends_on": {"mlflow-migrate": {"condition": "service_started"}}},
     "mlflow does not wait for mlflow-migrate"),
    (waits_for_others, "api", {"depends_on": {}}, "api waits for nobody"),
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_stack_keeps_the_rule(rule: Rule) -> None:
    """Each service does."""
    assert [] == list(rule(services()))


@pytest.mark.parametrize(("rule", "name", "change", "complaint"), BREACHES)
def test_the_rule_fails_on_a_broken_copy(rule: Rule, name: str, change: dict[str, Any], complaint: str) -> None:
    """A service that breaks it is named."""
    broken = copy.deepcopy(services())
    broken[name] = {key: value for key, value in {**broken[name], **change}.items() if value is not None}
    assert [complaint] == list(rule(broken))


def test_images_say_how_they_are_asked() -> None:
    """Those without a check of their own in docker-compose.yml."""
    texts = {name: (PROJECT / file).read_text(encoding="utf-8") for name, file in HEALTH_IN_IMAGE.items()}
    assert not [name for name, text in texts.items() if "HEALTHCHECK " not in text]


def test_what_has_to_stay_lies_in_volumes() -> None:
    """Objects, the database, what the service has not shipped yet."""
    found = services()
    kept = {"minio": "objects:/data", "postgres": "database:/var/lib/postgresql/data", "api": "service:/app/build"}
    assert not [name for name, volume in kept.items() if volume not in found[name]["volumes"]]
