"""Collecting the record of a run."""

import hashlib
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ml_lifecycle.errors import ProvenanceError
from ml_lifecycle.provenance import git, run
from ml_lifecycle.provenance.record import digest_of_parameters

LOCKED = b"numpy==2.4.0\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project with a lock and one commit."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/run.txt").write_bytes(LOCKED)
    for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "Start"]):
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True)
    return tmp_path


def test_names_code(project: Path) -> None:
    """The state of the code is in the record."""
    assert git.describe(project) == run.collect(project, "base", ["training"], {}).git


def test_names_environment(project: Path) -> None:
    """Python and the digest of the lock are in the record."""
    environment = run.collect(project, "base", ["training"], {}).environment
    expected = (platform.python_version(), platform.platform(), hashlib.sha256(LOCKED).hexdigest())
    assert expected == (environment.python, environment.platform, environment.lock_sha256)


@pytest.mark.parametrize(("variable", "image"), [(None, None), ("", None), ("sha256:1a", "sha256:1a")])
def test_names_the_image(
    project: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, image: str | None
) -> None:
    """In a container, whoever starts it says of which image it is."""
    monkeypatch.delenv("IMAGE_DIGEST", raising=False)
    if variable is not None:
        monkeypatch.setenv("IMAGE_DIGEST", variable)
    assert image == run.collect(project, "base", ["training"], {}).environment.image


def test_names_parameters(project: Path) -> None:
    """The effective parameters and their digest are in the record."""
    record = run.collect(project, "test", ["training"], {"seed": 1})
    assert (record.parameters, record.parameters_sha256) == ({"seed": 1}, digest_of_parameters({"seed": 1}))


def test_names_what_ran(project: Path) -> None:
    """Environment and pipelines are in the record."""
    record = run.collect(project, "test", ["training", "serving"], {})
    assert (record.kedro_environment, record.pipelines) == ("test", ["training", "serving"])


def test_time_is_utc(project: Path) -> None:
    """The start is a whole second in UTC, not later than now."""
    started = datetime.fromisoformat(run.collect(project, "base", [], {}).started_at)
    assert (started.tzinfo, started.microsecond) == (UTC, 0)
    assert started <= datetime.now(UTC)


def test_missing_lock_is_refused(project: Path) -> None:
    """Without the lock the environment cannot be named."""
    (project / "requirements/run.txt").unlink()
    with pytest.raises(ProvenanceError, match=r"requirements/run.txt is missing.*`make lock`"):
        run.collect(project, "base", [], {})


def test_missing_commit_is_refused(project: Path) -> None:
    """Without a commit the code cannot be named."""
    (project / ".git").rename(project / "no-git")
    with pytest.raises(ProvenanceError, match="cannot be determined"):
        run.collect(project, "base", [], {})


def test_names_what_the_command_line_gave(project: Path) -> None:
    """Parameters of the command line stand apart from all that are in effect; without any there are none."""
    given = {"split": {"judge_from": "2013-10-01"}}
    record = run.collect(project, "base", [], {"seed": 1, **given}, given)
    assert (given, {"seed": 1, **given}) == (record.runtime_parameters, record.parameters)
    assert {} == run.collect(project, "base", [], {}, None).runtime_parameters


def install(folder: Path, name: str | None, version: str) -> None:
    """Make a package look installed in a folder; without a name, as pip leaves one behind."""
    place = folder / f"{name or '~ip'}-{version}.dist-info"
    place.mkdir(parents=True)
    if name is not None:
        (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder, still empty, in which installed packages are looked for."""
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site-packages")])
    return tmp_path / "site-packages"


def test_names_packages_that_are_not_the_locks(project: Path, here: Path) -> None:
    """The record tells what is installed instead of what the lock says."""
    install(here, "numpy", "2.5.0")
    assert {"numpy": "2.5.0"} == run.collect(project, "base", [], {}).environment.deviations


HASHED = """\
# This file was made by uv
numpy==2.4.0 \\
    --hash=sha256:00 \\
    --hash=sha256:11
    # via
    #   pandas==3.1
    #   scikit-learn
pandas==3.1.0 ; python_version >= '3.11' \\
    --hash=sha256:22
"""
MARKERS = "a==1 ; sys_platform == 'linux'\na==2 ; sys_platform == 'darwin'\n"


@pytest.mark.parametrize(
    ("lock", "packages", "deviating"),
    [
        ("numpy==2.4.0\n", {"numpy": "2.4.0"}, {}),
        ("numpy==2.4.0\n", {"numpy": "2.4.1"}, {"numpy": "2.4.1"}),
        ("numpy==2.4.0\n", {"numpy": "2.4.0.post1"}, {"numpy": "2.4.0.post1"}),
        ("numpy==2.4.0\n", {}, {}),
        ("numpy==2.4.0\n", {"pandas": "3.1.0"}, {}),
        (HASHED, {"numpy": "2.4.0", "pandas": "3.1.0"}, {}),
        (HASHED, {"numpy": "2.4.0", "pandas": "3.1"}, {"pandas": "3.1"}),
        (MARKERS, {"a": "1"}, {}),
        (MARKERS, {"a": "2"}, {}),
        (MARKERS, {"a": "3"}, {"a": "3"}),
        ("a==1;python_version<'3.12'\n", {"a": "1"}, {}),
        ("ruamel-yaml==1\n", {"ruamel.yaml": "1"}, {}),
        ("ruamel.yaml==1\n", {"Ruamel_YAML": "2"}, {"ruamel-yaml": "2"}),
        ("typing_extensions==1\n", {"typing.-Extensions": "2"}, {"typing-extensions": "2"}),
        ("b==1\na==1\n", {"a": "2", "b": "2"}, {"a": "2", "b": "2"}),
        ("# numpy==2.4.0\n", {"numpy": "3"}, {}),
        ("numpy==2.4.0\r\n", {"numpy": "2.4.0"}, {}),
        ("numpy[extra,other]==2.4.0\n", {"numpy": "2.4.1"}, {"numpy": "2.4.1"}),
        ("", {"numpy": "3"}, {}),
    ],
)
def test_deviations(here: Path, lock: str, packages: dict[str, str], deviating: dict[str, str]) -> None:
    """Of what lock and environment both know, the versions that no line of the lock names."""
    for name, version in packages.items():
        install(here, name, version)
    assert deviating == run.deviations(lock)


def test_the_first_of_two_installations_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two folders on the path that hold a package, Python imports from the first one."""
    for folder, version in (("first", "1"), ("second", "2")):
        install(tmp_path / folder, "a", version)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), str(tmp_path / "second")])
    assert ({}, {"a": "1"}) == (run.deviations("a==1"), run.deviations("a==2"))


def test_a_broken_installation_is_not_counted(here: Path) -> None:
    """A folder that pip left behind, without a name, stops nobody."""
    install(here, None, "1")
    install(here, "a", "2")
    assert {"a": "2"} == run.deviations("a==1")
