"""Rules for every workflow file: functions from a file to complaints, each shown to complain about a broken copy."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

from act import PROJECT, WORKFLOWS, validated

#: Beyond `contents: read`, by the job that needs it.
PERMISSIONS = {"publish": {"packages": "write"}, "train": {"packages": "read"}}
#: Targets that write to what others rely on: stores, registry, images.
WRITING = {"train", "gate", "promote", "publish"}
MAIN = "github.ref == 'refs/heads/main'"
#: Written by whoever opens a pull request or fills in a form.
UNTRUSTED = re.compile(r"github\.event\.|github\.head_ref|inputs\.")
#: Events that run with secrets on code of strangers.
DANGEROUS = {"pull_request_target", "workflow_run", "issue_comment"}
TARGETS = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@dataclass(frozen=True)
class Workflow:
    """A workflow file."""

    text: str

    @cached_property
    def content(self) -> dict[str, Any]:
        """What it says; YAML reads the key `on` as a yes."""
        read = yaml.safe_load(self.text)
        return {"on" if key is True else key: value for key, value in read.items()}

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        """Its jobs, by name."""
        return dict(self.content["jobs"])

    @property
    def steps(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Its steps, each with the name of its job."""
        for name, job in self.jobs.items():
            yield from ((name, step) for step in job["steps"])

    def commands(self, job: str) -> list[str]:
        """What a job runs."""
        return [step["run"] for step in self.jobs[job]["steps"] if "run" in step]

    def writes(self, job: str) -> bool:
        """Whether a job changes what others rely on."""
        targets = {target for command in self.commands(job) for target in command.split()[1:]}
        granted = self.jobs[job].get("permissions", {})
        return bool(targets & WRITING) or "write" in granted.values()


Rule = Callable[[Workflow], Iterator[str]]


def pinned(workflow: Workflow) -> Iterator[str]:
    """Actions are named by a whole commit, with the version beside it."""
    for line in re.findall(r"uses:.*", workflow.text):
        if not re.fullmatch(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line):
            yield f"not pinned by a commit with its version as comment: {line}"


def least_permissions(workflow: Workflow) -> Iterator[str]:
    """A workflow may read, and a job no more than it needs."""
    if workflow.content.get("permissions") != {"contents": "read"}:
        yield f"permissions: {workflow.content.get('permissions')}, allowed: contents: read"
    for name, job in workflow.jobs.items():
        allowed = {"contents": "read", **PERMISSIONS.get(name, {})}
        if "permissions" in job and job["permissions"] != allowed:
            yield f"{name}: permissions {job['permissions']}, allowed: {allowed}"


def nothing_within_commands(workflow: Workflow) -> Iterator[str]:
    """What a stranger wrote reaches a command by the environment only; no expression stands in one."""
    for name, step in workflow.steps:
        if "${{" in step.get("run", ""):
            yield f"{name}: an expression within a command: {step['run']}"
        given = {key: value for key, value in step.items() if key not in {"env", "run", "if"}}
        if found := UNTRUSTED.search(str(given)):
            yield f"{name}: '{found[0]}' outside of env"


def thin_steps(workflow: Workflow) -> Iterator[str]:
    """A command is one call of make with targets that exist."""
    for name, step in workflow.steps:
        words = step.get("run", "make help").strip().split()
        if words[0] != "make" or not words[1:] or set(words[1:]) - TARGETS:
            yield f"{name}: no call of a make target: {step['run']}"


def time_limits(workflow: Workflow) -> Iterator[str]:
    """Every job ends."""
    for name, job in workflow.jobs.items():
        if not isinstance(job.get("timeout-minutes"), int):
            yield f"{name}: no timeout-minutes"


def one_at_a_time(workflow: Workflow) -> Iterator[str]:
    """Every workflow is in a group; jobs that use the stores are in one group, and none of them is cut short."""
    whole = workflow.content.get("concurrency")
    if not whole:
        yield "no concurrency"
    for name, job in workflow.jobs.items():
        of_job = job.get("concurrency") or whole
        if (
            "secrets.AWS_" in str(job)
            and workflow.writes(name)
            and of_job != {"group": "stores", "cancel-in-progress": False}
        ):
            yield f"{name}: concurrency {of_job}, needed: the group stores, without cancel-in-progress"


def only_main_writes(workflow: Workflow) -> Iterator[str]:
    """What registers, moves an alias or pushes runs on main only, in an environment."""
    for name, job in workflow.jobs.items():
        if workflow.writes(name) and (MAIN not in _conjuncts(job) or not job.get("environment")):
            yield f"{name} writes, so it needs an environment and `if: {MAIN}`"


def _conjuncts(job: dict[str, Any]) -> list[str]:
    condition = str(job.get("if", ""))
    return [] if "||" in condition else [part.strip() for part in condition.split("&&")]


def secrets_in_an_environment(workflow: Workflow) -> Iterator[str]:
    """Secrets are those of an environment, and reach one command each, on main."""
    for name, job in workflow.jobs.items():
        has_place = job.get("environment") and MAIN in _conjuncts(job)
        if "secrets." in str(job) and not has_place:
            yield f"{name}: secrets without an environment on main"
        if "secrets." in str({key: value for key, value in job.items() if key != "steps"}):
            yield f"{name}: secrets for the whole job, not for a step"
        for step in job["steps"]:
            if "secrets." in str(step) and "uses" in step:
                yield f"{name}: secrets for {step['uses']}"
    if "secrets: inherit" in workflow.text or "toJSON(secrets" in workflow.text:
        yield "all secrets at once"


def harmless_events(workflow: Workflow) -> Iterator[str]:
    """No event gives secrets to the code of strangers, and the checkout leaves no token behind."""
    if found := DANGEROUS & set(workflow.content["on"]):
        yield f"dangerous events: {', '.join(sorted(found))}"
    for name, step in workflow.steps:
        kept = step.get("with", {}).get("persist-credentials", True)
        if step.get("uses", "").startswith("actions/checkout@") and kept is not False:
            yield f"{name}: the checkout keeps its token"


def caches_by_lock(workflow: Workflow) -> Iterator[str]:
    """A cache is named by the hash of a file that says what is in it."""
    for name, step in workflow.steps:
        if step.get("uses", "").startswith("actions/cache@") and "hashFiles(" not in step["with"]["key"]:
            yield f"{name}: the cache {step['with']['key']} is not named by a hash"
        if "restore-keys" in step.get("with", {}):
            yield f"{name}: a cache of another lock is taken"


CI = WORKFLOWS / "ci.yml"
PROMOTE = WORKFLOWS / "promote.yml"
KEY = '"${{ secrets.API_KEY }}"'
#: Each rule with the copies that break it: file, what is replaced, by what, and what is complained about.
BROKEN: list[tuple[Rule, Path, str, str, str]] = [
    (pinned, CI, "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "@v7", "uses: actions/checkout@v7"),
    (pinned, CI, "ba90b1 # v7.0.1", "ba90b1", "ba90b1"),
    (pinned, CI, "ba90b1 # v7.0.1", "ba90 # v7.0.1", "273ba90 #"),
    (least_permissions, CI, "permissions:\n  contents: read\n", "", "permissions: None"),
    (least_permissions, CI, "permissions:\n  contents: read\n", "permissions: write-all\n", "write-all"),
    (least_permissions, CI, "packages: read", "packages: write", "train: permissions"),
    (nothing_within_commands, PROMOTE, "run: make promote", "run: make ${{ inputs.version }}", "an expression"),
    (nothing_within_commands, CI, "run: make lint", "run: make ${{ github.head_ref }}", "an expression"),
    (nothing_within_commands, PROMOTE, "with: {name: model,", 'with: {name: "${{ inputs.reason }}",', "outside of env"),
    (thin_steps, CI, "run: make lint", "run: pip install ruff", "pip install ruff"),
    (thin_steps, CI, "run: make lint", "run: make lint; curl example.org", "curl"),
    (thin_steps, CI, "run: make lint", "run: make no-such-target", "no-such-target"),
    (time_limits, CI, "    timeout-minutes: 20\n", "", "lint: no timeout-minutes"),
    (one_at_a_time, PROMOTE, "concurrency:\n  group: stores\n  cancel-in-progress: false\n", "", "no concurrency"),
    (one_at_a_time, CI, "concurrency: {group: stores,", "concurrency: {group: train,", "train: concurrency"),
    (one_at_a_time, PROMOTE, "cancel-in-progress: false", "cancel-in-progress: true", "promote: concurrency"),
    (only_main_writes, PROMOTE, f"    if: {MAIN}\n", "", "promote writes"),
    (only_main_writes, PROMOTE, f"if: {MAIN}\n", f"if: {MAIN} || true\n", "promote writes"),
    (only_main_writes, PROMOTE, "    environment: promotion\n", "", "promote writes"),
    (only_main_writes, CI, "run: make lint", "run: make publish", "lint writes"),
    (secrets_in_an_environment, CI, "run: make lint", f"run: make lint\n        env: {{A: {KEY}}}", "lint: "),
    (secrets_in_an_environment, PROMOTE, "    environment: promotion\n", "", "secrets without"),
    (secrets_in_an_environment, PROMOTE, "    env:\n", f"    env:\n      A: {KEY}\n", "whole job"),
    (secrets_in_an_environment, PROMOTE, "{name: model,", f"{{name: {KEY},", "secrets for actions/"),
    (harmless_events, CI, "  pull_request:\n", "  pull_request_target:\n", "pull_request_target"),
    (harmless_events, CI, "{persist-credentials: false}", "{}", "keeps its token"),
    (caches_by_lock, CI, "-3.11-${{ hashFiles('requirements/*.txt') }}", "", "is not named by a hash"),
]  # fmt: skip
RULES = list(dict.fromkeys(rule for rule, *_ in BROKEN))


@pytest.mark.parametrize("file", sorted(WORKFLOWS.iterdir()), ids=lambda file: file.name)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_workflow_keeps_the_rule(rule: Rule, file: Path) -> None:
    """No complaints."""
    assert [] == list(rule(Workflow(file.read_text(encoding="utf-8"))))


@pytest.mark.parametrize(
    ("rule", "file", "old", "new", "complaint"), BROKEN, ids=lambda value: getattr(value, "__name__", None)
)
def test_the_rule_fails_on_a_broken_copy(rule: Rule, file: Path, old: str, new: str, complaint: str) -> None:
    """What breaks it is named."""
    text = file.read_text(encoding="utf-8")
    assert old in text
    told = list(rule(Workflow(text.replace(old, new, 1))))
    assert any(complaint in line for line in told), told


@pytest.mark.parametrize("file", sorted(WORKFLOWS.iterdir()), ids=lambda file: file.name)
def test_every_workflow_fits_the_schema(file: Path, tmp_path: Path) -> None:
    """What stands in it, GitHub knows."""
    ran = validated(file, tmp_path)
    assert ran.is_green, ran.told


def test_a_broken_copy_does_not_fit_the_schema(tmp_path: Path) -> None:
    """A key with another name is found."""
    broken = tmp_path / "broken.yml"
    broken.write_text(CI.read_text(encoding="utf-8").replace("runs-on:", "runs-no:", 1), encoding="utf-8")
    ran = validated(broken, tmp_path)
    assert not ran.is_green
    assert "Unknown Property runs-no" in ran.told


def _training(file: str) -> list[dict[str, Any]]:
    steps = [step for _, step in Workflow((WORKFLOWS / file).read_text(encoding="utf-8")).steps]
    begin = next(place for place, step in reversed(list(enumerate(steps))) if step.get("run") == "make public-key")
    return steps[begin:]


def test_retraining_is_what_training_is() -> None:
    """The two jobs do the same, with the same variables and secrets."""
    assert _training("ci.yml") == _training("retrain.yml")
    train, retrain = (
        Workflow((WORKFLOWS / file).read_text(encoding="utf-8")).jobs["train"] for file in ("ci.yml", "retrain.yml")
    )
    assert {**retrain["env"], "PIPELINES_IMAGE": "${{ needs.publish.outputs.pipelines }}"} == train["env"]
    assert train["environment"] == retrain["environment"]


PAGE = PROJECT / "docs/how-to/ci.md"
#: In upper case within backquotes, and named so by GitHub.
BUILT_IN = {"GITHUB_TOKEN"}


def _of_workflows(kind: str) -> set[str]:
    texts = (file.read_text(encoding="utf-8") for file in WORKFLOWS.iterdir())
    return {name for text in texts for name in re.findall(rf"\b{kind}\.([A-Z_]+)", text)}


def _of_page(heading: str) -> set[str]:
    """The names in the first column of the table below a heading."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n### {heading}\n")[2].partition("\n#")[0]
    return set(re.findall(r"^\| `([A-Z_]+)`", section, re.MULTILINE))


@pytest.mark.parametrize(("kind", "heading"), [("secrets", "Secrets"), ("vars", "Variables")])
def test_the_page_names_what_the_workflows_read(kind: str, heading: str) -> None:
    """All of it, and nothing else."""
    assert _of_workflows(kind) - BUILT_IN == _of_page(heading)


def test_the_page_names_the_environments() -> None:
    """As the jobs do, with the secrets that each of them reads."""
    page = PAGE.read_text(encoding="utf-8")
    for file in sorted(WORKFLOWS.iterdir()):
        workflow = Workflow(file.read_text(encoding="utf-8"))
        for name, job in workflow.jobs.items():
            assert f"`{name}`" in page, f"{file.name}: the job {name} is not on the page"
            if "environment" in job:
                assert re.search(rf"^\| `{job['environment']}` \|", page, re.MULTILINE)


def test_secrets_of_each_environment() -> None:
    """Where the page says that an environment has a secret, a job in it reads it, and the other way round."""
    read: dict[str, set[str]] = {}
    for file in WORKFLOWS.iterdir():
        for job in Workflow(file.read_text(encoding="utf-8")).jobs.values():
            if "environment" in job:
                read.setdefault(job["environment"], set()).update(re.findall(r"secrets\.([A-Z_]+)", str(job)))
    section = PAGE.read_text(encoding="utf-8").partition("\n### Secrets\n")[2].partition("\n#")[0]
    told: dict[str, set[str]] = {place: set() for place in read}
    for secret, places in re.findall(r"^\| `([A-Z_]+)` \| ([^|]+) \|", section, re.MULTILINE):
        for place in re.findall(r"`([a-z]+)`", places):
            told[place].add(secret)
    assert read == told
