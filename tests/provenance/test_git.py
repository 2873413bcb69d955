"""The state of the code."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from ml_lifecycle.errors import ProvenanceError
from ml_lifecycle.provenance.git import describe

NOTHING = hashlib.sha256().hexdigest()


def git(folder: Path, *arguments: str) -> str:
    """Run git without the user's settings."""
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.check_output(command, env={**os.environ, **alone}, text=True).strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository with one commit."""
    (tmp_path / "code.py").write_text("x = 1\n", encoding="utf-8")
    (tmp_path / ".gitignore").write_text("*.log\n", encoding="utf-8")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "Start")
    return tmp_path


def test_names_the_commit(repository: Path) -> None:
    """The commit is that of HEAD."""
    assert git(repository, "rev-parse", "HEAD") == describe(repository).commit


def test_a_clean_tree_has_the_digest_of_nothing(repository: Path) -> None:
    """Without changes the tree is clean."""
    state = describe(repository)
    assert (state.dirty, state.diff_sha256) == (False, NOTHING)


def test_ignored_files_do_not_count(repository: Path) -> None:
    """A file that Git ignores leaves the tree clean."""
    (repository / "run.log").write_text("noise", encoding="utf-8")
    assert not describe(repository).dirty


@pytest.mark.parametrize("name", ["code.py", "new.py", "with space.py", "ümlaut.py"])
def test_a_change_makes_the_tree_dirty(repository: Path, name: str) -> None:
    """A changed file and an untracked file, whatever its name, both count."""
    (repository / name).write_text("x = 2\n", encoding="utf-8")
    state = describe(repository)
    assert state.dirty
    assert state.diff_sha256 != NOTHING


def test_a_staged_change_counts(repository: Path) -> None:
    """A change that is staged but not committed makes the tree dirty."""
    (repository / "code.py").write_text("x = 2\n", encoding="utf-8")
    git(repository, "add", "--all")
    assert describe(repository).dirty


def test_a_binary_change_counts(repository: Path) -> None:
    """Two different changes of a binary file have different digests."""
    (repository / "data.bin").write_bytes(b"\0\1")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "Binary")
    digests = set()
    for content in (b"\0\2", b"\0\3"):
        (repository / "data.bin").write_bytes(content)
        digests.add(describe(repository).diff_sha256)
    assert len(digests) == 2


def test_the_content_of_an_untracked_file_counts(repository: Path) -> None:
    """Two contents of the same untracked file have different digests."""
    digests = set()
    for content in ("x = 2\n", "x = 3\n"):
        (repository / "new.py").write_text(content, encoding="utf-8")
        digests.add(describe(repository).diff_sha256)
    assert len(digests) == 2


def test_the_name_of_an_untracked_file_counts(repository: Path) -> None:
    """The same content under two names has different digests."""
    digests = set()
    for name in ("one.py", "two.py"):
        (repository / name).write_text("x = 2\n", encoding="utf-8")
        digests.add(describe(repository).diff_sha256)
        (repository / name).unlink()
    assert len(digests) == 2


def test_the_same_change_has_the_same_digest(repository: Path) -> None:
    """The digest depends on the change alone."""
    (repository / "code.py").write_text("x = 2\n", encoding="utf-8")
    assert describe(repository) == describe(repository)


def test_the_digest_of_a_change_ignores_the_users_settings(repository: Path) -> None:
    """How a user likes to see differences does not change their digest."""
    (repository / "code.py").write_text("x = 2\n", encoding="utf-8")
    expected = describe(repository)
    git(repository, "config", "diff.noprefix", "true")
    git(repository, "config", "diff.context", "0")
    assert expected == describe(repository)


def test_a_repository_without_commit_is_refused(tmp_path: Path) -> None:
    """Before the first commit there is nothing to name."""
    git(tmp_path, "init", "--quiet")
    with pytest.raises(ProvenanceError, match="at least one commit"):
        describe(tmp_path)


def test_a_folder_without_repository_is_refused(tmp_path: Path) -> None:
    """Outside a repository the error says to use a clone."""
    with pytest.raises(ProvenanceError, match=r"cannot be determined .*Run inside a Git clone"):
        describe(tmp_path)


def test_a_machine_without_git_is_refused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git the error says to install it."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ProvenanceError, match="git is not installed"):
        describe(repository)
