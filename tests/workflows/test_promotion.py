"""Promotion as CI does it: gate, alias, service, and back; on a real registry, with a real service in a process.

The runner is a clone without keys and data. It reaches the registry by links, as one at GitHub does over the network.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

import promotion_story
from act import Act
from ml_lifecycle.signing.keys import PUBLIC, make_pair
from project_copy import DATABASE, ProjectCopy
from service import ProjectService

pytestmark = [pytest.mark.workflows, pytest.mark.filterwarnings("default")]

FIRST, BETTER = "1", "2"


@dataclass(frozen=True)
class World:
    """A registry with two versions, the first in production, and who works with it."""

    team: ProjectCopy
    runner: Act
    service: ProjectService

    @property
    def public_key(self) -> Path:
        """What signatures are verified with."""
        return self.team.path / ".keys/signing.pub"

    def promote(self, *arguments: str) -> "CompletedProcess[str]":
        """Run the script as `make promote` does, on the runner."""
        command = ("python", "deploy/promote.py", "--env", "test", "--reason", "a test", *arguments)
        return self.runner.project.run(*command, check=False, MODEL_VERIFYING_KEYS=str(self.public_key))

    def history(self) -> list[dict[str, Any]]:
        """How @production was moved."""
        told = json.loads(self.team.run("kedro", "model", "history", "production", "--env", "test", "--json").stdout)
        return list(told["aliases"]["production"]["moves"])

    def moves(self) -> list[tuple[str, str]]:
        """What was done, and where the alias was then."""
        return [(move["action"], move["to"]) for move in self.history()]

    def answering(self) -> str:
        """Number of the version that the service answers with."""
        return str(self.service.get("/ready").json["model"]["version"])


def _links(runner: ProjectCopy, team: ProjectCopy) -> None:
    for name in (DATABASE, "build/test"):
        (runner.path / name).parent.mkdir(exist_ok=True)
        (runner.path / name).symlink_to(team.path / name)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Train two versions, clone the project to a runner, and start the service."""
    folder: Path = tmp_path_factory.mktemp("promotion")
    team = ProjectCopy.of_clone(folder / "team")
    team.run("kedro", "run", "--env", "test")
    team.run(*promotion_story.TRAIN, "--env", "test", "--params", promotion_story.BETTER)
    team.run("git", "clone", "--quiet", str(team.path), str(folder / "runner"))
    runner = ProjectCopy(folder / "runner")
    _links(runner, team)
    settings = {"KEDRO_ENV": "test", "API_CACHE": str(folder / "cache"), "API_RELOAD_SECONDS": "0.5"}
    service = ProjectService(folder, team.path, settings)
    service.start()
    yield World(team, Act.on(runner, folder), service)
    service.stop()


def settings_of(world: World, **inputs: str) -> dict[str, dict[str, str]]:
    """What GitHub would keep for the workflow."""
    return {
        "var": {
            "KEDRO_ENV": "test",
            "MLFLOW_TRACKING_URI": world.team.tracking_uri,
            "MODEL_PUBLIC_KEY": world.public_key.read_text(encoding="utf-8"),
            "SERVICE_URL": world.service.url,
        },
        "input": inputs,
    }


def test_nothing_moves_without_a_service_that_is_well(world: World) -> None:
    """Nobody listens there: cannot decide, before the gate is asked."""
    ended = world.promote("--service", "http://127.0.0.1:9", "--", BETTER)
    assert ended.returncode == 2
    assert "the service at http://127.0.0.1:9 is not well" in ended.stderr
    assert "Nothing was moved" in ended.stderr
    assert "The gate" not in ended.stdout


def test_a_service_of_another_alias_moves_nothing(world: World) -> None:
    """It answers for @production, and cannot show that @staging arrived."""
    ended = world.promote("--to", "staging", "--service", world.service.url, "--", BETTER)
    assert ended.returncode == 2
    assert "answers for @production, not for @staging. Nothing was moved" in ended.stderr


def test_a_version_that_answers_no_record_goes_back(world: World, tmp_path: Path) -> None:
    """The gate says yes and the service takes it up, but it answers no record: alias and service go back."""
    (tmp_path / "record.json").write_text('{"carrier": "UA"}', encoding="utf-8")
    ended = world.promote("--service", world.service.url, "--record", str(tmp_path / "record.json"), "--", BETTER)
    assert ended.returncode == 1, ended.stderr
    assert f"The gate for @production, version {BETTER}: yes" in ended.stdout
    assert "it does not answer a record with version 2" in ended.stderr
    assert f"Rolled back: @production points to version {FIRST} again." in ended.stdout
    assert "The service answers with version 1" in ended.stdout
    assert world.moves()[-2:] == [("promote", BETTER), ("rollback", FIRST)]
    assert world.answering() == FIRST


def test_a_service_that_does_not_follow_lets_it_go_back(world: World, tmp_path: Path) -> None:
    """It looks at the alias once an hour: not within the time given."""
    slow = {**world.service.extra, "API_CACHE": str(tmp_path / "cache"), "API_RELOAD_SECONDS": "3600"}
    service = ProjectService(tmp_path, world.team.path, slow)
    service.start()
    try:
        ended = world.promote("--service", service.url, "--within", "3", "--", BETTER)
    finally:
        service.stop()
    assert ended.returncode == 1, ended.stderr
    assert f"it does not name version {BETTER}" in ended.stderr
    assert "within 3 s; its last answer: 200" in ended.stderr
    assert world.moves()[-1][1] == FIRST


def test_the_workflow_promotes(world: World) -> None:
    """The file promote.yml as it is: the service answers with the version, and the summary tells the difference."""
    given = settings_of(world, version=BETTER, alias="production", reason="more trees; $(touch pwned) `touch pwned`")
    ran = world.runner.run("promote.yml", "workflow_dispatch", "promote", settings=given)
    assert ran.is_green, ran.why
    assert f"Version {BETTER} has @production." in ran.told
    moved = world.history()[-1]
    assert (moved["to"], moved["reason"], world.answering()) == (BETTER, given["input"]["reason"], BETTER)
    kept = world.runner.artifacts / "model"
    page = (kept / "summary.md").read_text(encoding="utf-8")
    assert "### The gate for @production: yes" in page
    assert "**against version 1**: gain over version 1 in roc_auc: 0.0" in page
    assert "| roc_auc | 0." in page
    assert (kept / "roc_curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_no_of_the_gate_makes_the_workflow_red(world: World) -> None:
    """The first version is no better than the one in place: nothing moves, and the summary says why all the same."""
    given = settings_of(world, version=FIRST, alias="production", reason="the old one")
    ran = world.runner.run("promote.yml", "workflow_dispatch", "promote", settings=given)
    assert not ran.is_green
    assert f"The gate for @production, version {FIRST}: no" in ran.told
    assert (world.moves()[-1][1], world.answering()) == (BETTER, BETTER)
    assert "| incumbent | no |" in (world.runner.artifacts / "model/summary.md").read_text(encoding="utf-8")


def test_what_has_the_alias_is_only_looked_at(world: World) -> None:
    """Run again after a promotion: no gate, and the service is asked."""
    ended = world.promote("--service", world.service.url, "--", BETTER)
    assert ended.returncode == 0, ended.stderr
    assert "has @production already; the gate is not asked again" in ended.stdout
    assert "The service at" in ended.stdout


def test_only_main_promotes(world: World) -> None:
    """On another branch the job is not run."""
    world.runner.project.run("git", "switch", "--quiet", "--create", "mine")
    try:
        given: dict[str, Any] = settings_of(world, version=FIRST, alias="production", reason="mine")
        ran = world.runner.run("promote.yml", "workflow_dispatch", "promote", settings=given)
    finally:
        world.runner.project.run("git", "switch", "--quiet", "main")
        world.runner.project.run(
            "git", "branch", "--quiet", "--delete", "--force", "mine"
        )  # act names either of the two
    assert "make promote" not in ran.told
    assert world.moves()[-1][1] == BETTER


def test_the_workflow_reproduces(world: World) -> None:
    """The file repro.yml as it is: on a runner without tables, the version in production is made again, bit for bit."""
    given = settings_of(world)
    ran = world.runner.run("repro.yml", "schedule", "reproduce", settings=given)
    assert ran.is_green, ran.why
    assert "✓ model bytes" in ran.told


def test_a_version_of_strangers_makes_the_reproduction_red(world: World, tmp_path: Path) -> None:
    """Signed by no key that the variable names: it is not run, and the job is red."""
    make_pair(tmp_path)
    given = settings_of(world)
    given["var"]["MODEL_PUBLIC_KEY"] = (tmp_path / PUBLIC).read_text(encoding="utf-8")
    ran = world.runner.run("repro.yml", "workflow_dispatch", "reproduce", settings=given)
    assert not ran.is_green
    assert "not trusted" in ran.told
    assert "Failure - Main make reproduce" in ran.told


DOCKER = """#!/bin/sh
case "$1" in
  run) exec kedro run --env test ;;
  image) echo sha256:{digest} ;;
esac
"""


def test_the_workflow_trains(world: World, tmp_path: Path) -> None:
    """The file retrain.yml as it is, but for the container: a version of this commit, signed, judged and told about."""
    (tmp_path / "docker").write_text(DOCKER.format(digest="ab" * 32), encoding="utf-8")
    (tmp_path / "docker").chmod(0o755)
    given = settings_of(world)
    given["secret"] = {
        "AWS_ACCESS_KEY_ID": "pipelines",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
        "MODEL_SIGNING_KEY": (world.team.path / ".keys/signing.key").read_text(encoding="utf-8"),
    }
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    ran = world.runner.run("retrain.yml", "schedule", "train", settings=given, variables={"PATH": path})
    assert ran.is_green, ran.why
    page = (world.runner.artifacts / "model/summary.md").read_text(encoding="utf-8")
    commit = world.runner.project.run("git", "rev-parse", "HEAD").stdout.strip()
    signed = "| signature | verified, by signing.pub |"
    for line in (f"| commit | `{commit}`, clean |", f"| image | `sha256:{'ab' * 32}` |", signed):
        assert f"\n{line}\n" in page
    assert "### The gate for @staging: no" in page
    assert [path.name for path in (world.runner.artifacts / "model").glob("*_curve.png")]
