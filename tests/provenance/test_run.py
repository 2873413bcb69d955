"""Collecting the record of a run."""

import hashlib
import platform
import subprocess
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
