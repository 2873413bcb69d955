"""The jobs of ci.yml that need Docker, executed with act after those that they need, as a push to main of a fork does.

The suites, which run by themselves, are only listed here; the sample is small.
"""

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from act import Act
from compose import RAW, Compose, registered
from project_copy import ProjectCopy

pytestmark = [pytest.mark.workflows, pytest.mark.filterwarnings("default")]

LISTED = "--no-cov --collect-only --quiet tests/test_moments.py tests/stack"
REPORTED = re.compile(r"\| (ml-lifecycle-\S+:.*(?:10001:10001|secrets in layers|ready after).*)")
TARGETS = ("tracking", "api", "pipelines")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Compose]:
    """Describe a stack for a runner; whatever the job leaves of it is removed."""
    project = ProjectCopy.of_clone(tmp_path / "project")
    project.make_small()
    project.run("python", "docs/generate.py")  # its pages tell of the parameters, which are small
    project.commit()
    found = Compose.of(project, f"ml-lifecycle-{os.getpid()}-runner", "ml-lifecycle-runner")
    try:
        yield found
    finally:
        found.remove()


def test_a_push_to_main_of_a_fork_is_green(stack: Compose, capsys: pytest.CaptureFixture[str]) -> None:
    """Lint, images, what they are, which is shown; a model trained on the stack, its summary, and the stack is down."""
    runner = Act.on(stack.project, stack.project.path.parent)
    variables = {**stack.variables, "RAW": RAW, "PYTEST_ADDOPTS": LISTED, "WORKERS": "0"}
    ran = runner.run("ci.yml", "push", "ephemeral", "--matrix", "python:3.11", variables=variables)
    told = re.sub("\x1b\\[[0-9;]*m", "", ran.told)
    assert ran.is_green, ran.why
    for target in ("lint", "test", "images", "test-stack", "run", "images-report", "stack", "stack-run", "stack-down"):
        assert f"Success - Main make {target} " in told, target
    assert re.search(r"key uv-Linux-3\.11-[0-9a-f]{64}\b", told)
    assert 2 == len(re.findall(r"\d+/\d+ tests collected", told))
    for target in TARGETS:
        name = f"{stack.variables['IMAGE_PREFIX']}-{target}:{stack.variables['IMAGE_TAG']}"
        assert re.search(rf"{name} +\d+ +\d+  10001:10001", told)
        assert f"{name}: no secrets in layers and history" in told
    report = REPORTED.findall(told)
    assert "ready after" in report[-1]
    with capsys.disabled():
        sys.stderr.write("\n{}\n".format("\n".join(report)))  # as shown by workers of pytest
    number, digest = registered(told.partition("make stack-run")[2])
    summary = (runner.artifacts / "model/summary.md").read_text(encoding="utf-8")
    assert digest in summary
    assert "1" == number
    assert [] == json.loads(stack.docker("compose", "ps", "--all", "--format", "json") or "[]")
