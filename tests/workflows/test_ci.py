"""The jobs of ci.yml with tests, executed: green, and red with one that fails.

Which tests the jobs run is cut down from outside, by what pytest reads from the environment: all of them take an hour.
"""

import re
from pathlib import Path

import pytest

from act import Act
from project_copy import ProjectCopy

pytestmark = [pytest.mark.workflows, pytest.mark.filterwarnings("default")]

ONE_PYTHON = ("--matrix", "python:3.11")
PLANTED = '"""Planted."""\n\n\ndef test_planted() -> None:\n    """Fails."""\n    assert "green" == "red"\n'


def only(*tests: str) -> dict[str, str]:
    """Cut the suite down to a few tests, in one process."""
    return {"PYTEST_ADDOPTS": " ".join(("--no-cov", *tests)), "WORKERS": "0"}


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Act:
    """Return the project on a runner, after the checkout."""
    folder = tmp_path_factory.mktemp("runner")
    return Act.on(ProjectCopy.of_clone(folder / "project"), folder)


def test_tests_are_green(runner: Act) -> None:
    """MinIO is built, and the suite runs."""
    ran = runner.run("ci.yml", "pull_request", "test", *ONE_PYTHON, variables=only("tests/test_moments.py"))
    assert ran.is_green, ran.why
    assert "Success - Main make minio" in ran.told
    assert re.search(r"\d+ passed", ran.told)


def test_a_failing_test_makes_it_red(runner: Act) -> None:
    """A planted test fails, by name, and the job with it."""
    planted = runner.project.path / "tests/test_planted.py"
    planted.write_text(PLANTED, encoding="utf-8")
    try:
        ran = runner.run("ci.yml", "push", "test", *ONE_PYTHON, variables=only("tests/test_planted.py"))
    finally:
        planted.unlink()
    assert not ran.is_green
    assert "_ test_planted _" in ran.why
    assert re.search(r"\b1 failed\b", ran.why)
    assert "Failure - Main make test" in ran.why


def test_the_targets_of_the_other_jobs_select_tests(runner: Act) -> None:
    """The jobs on the other store, in a browser and with all flights find what they run; here it is only listed."""
    listed = only("--collect-only", "--quiet", "tests/integration/servers", "tests/api", "tests/full")
    for job in ("other-store", "all-flights"):
        ran = runner.run("ci.yml", "push", job, variables=listed)
        assert ran.is_green, ran.why
        assert re.search(r"\d+/\d+ tests collected", ran.told)


def test_a_program_of_go_that_is_there_is_not_built_again(runner: Act, tmp_path: Path) -> None:
    """The registry, which cannot be reached, is asked for what is not there only."""
    runner.project.run("make", "minio")
    there = runner.project.run("make", "minio", check=False, GOPROXY="off")
    assert there.returncode == 0, there.stderr
    missing = runner.project.run("make", "minio", check=False, GOPROXY="off", GOBIN=str(tmp_path))
    assert "disabled by GOPROXY=off" in missing.stderr
