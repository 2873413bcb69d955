"""The state of the code."""

import hashlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_lifecycle.errors import ProvenanceError
from ml_lifecycle.provenance import git as module
from ml_lifecycle.provenance.git import (
    add_worktree,
    apply,
    describe,
    holds,
    materialise,
    remove_worktree,
)
from ml_lifecycle.provenance.record import GitState

NOTHING = hashlib.sha256().hexdigest()


def git(folder: Path, *arguments: str) -> str:
    """Run git without the user's settings."""
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.check_output(command, env={**os.environ, **alone}, text=True, stderr=subprocess.PIPE).strip()


FILES = {
    "code.py": b"x = 1\n",
    ".gitignore": b"*.log\n",
    "data.bin": bytes(range(256)),
    "windows.txt": b"one\r\ntwo\r\n",
    "no newline.txt": b"one\ntwo",
    "folder/deep.py": b"y = 1\n" * 30,
    "empty.txt": b"",
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository with one commit."""
    folder = tmp_path_factory.mktemp("prepared")
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Start")
    return folder


@pytest.fixture
def repository(prepared: Path, tmp_path: Path) -> Path:
    """Return a repository of one's own with one commit."""
    return Path(shutil.copytree(prepared, tmp_path / "repository"))


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


def test_staging_does_not_change_the_digest(repository: Path) -> None:
    """A new file is a new file, whether Git was told of it or not; a second staged one counts by name and content."""
    (repository / "new.py").write_text("x = 2\n", encoding="utf-8")
    unstaged = describe(repository)
    git(repository, "add", "new.py")
    assert unstaged == describe(repository)
    (repository / "new.py").write_text("x = 3\n", encoding="utf-8")
    assert unstaged.diff_sha256 != describe(repository).diff_sha256


def test_a_staged_file_that_is_gone_is_no_change(repository: Path) -> None:
    """What counts is what a run can read, not what stands in the index."""
    (repository / "new.py").write_text("x = 2\n", encoding="utf-8")
    git(repository, "add", "new.py")
    (repository / "new.py").unlink()
    assert (False, None) == (describe(repository).dirty, describe(repository).patch)


def test_a_forced_file_counts(repository: Path) -> None:
    """A file that Git ignores, but was told to take, is a change; it is not kept, and no empty patch stands for it."""
    (repository / "run.log").write_text("noise", encoding="utf-8")
    git(repository, "add", "--force", "run.log")
    assert (True, None) == (describe(repository).dirty, describe(repository).patch)


def test_a_link_to_nowhere_can_be_described(repository: Path) -> None:
    """Of a link, where it points to counts, whether or not something is there."""
    digests = set()
    for target in ("nowhere", "folder"):
        (repository / "link").unlink(missing_ok=True)
        (repository / "link").symlink_to(target)
        digests.add(describe(repository).diff_sha256)
    assert len(digests) == 2


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return change


def _staged(change: Callable[[Path], None]) -> Callable[[Path], None]:
    def staged(folder: Path) -> None:
        change(folder)
        git(folder, "add", "--all")

    return staged


def _rename(folder: Path) -> None:
    (folder / "folder/deep.py").rename(folder / "deeper.py")


def _replace_by_folder(folder: Path) -> None:
    (folder / "code.py").unlink()
    _write("code.py/inside.py", b"x = 2\n")(folder)


CHANGES: dict[str, Callable[[Path], None]] = {
    "changed": _write("code.py", b"x = 2\n"),
    "staged": _staged(_write("code.py", b"x = 2\n")),
    "emptied": _write("code.py", b""),
    "filled": _write("empty.txt", b"full\n"),
    "new": _write("new.py", b"x = 2\n"),
    "new and staged": _staged(_write("new.py", b"x = 2\n")),
    "new in a folder": _write("a/b/c.py", b"x = 2\n"),
    "new and empty": _write("new.py", b""),
    "new and ignored": _staged(_write(".gitignore", b"*.log\n*.tmp\n")),
    "deleted": lambda folder: (folder / "code.py").unlink(),
    "deleted binary": lambda folder: (folder / "data.bin").unlink(),
    "deleted and staged": _staged(lambda folder: (folder / "code.py").unlink()),
    "deleted folder": lambda folder: shutil.rmtree(folder / "folder"),
    "renamed": _rename,
    "renamed and staged": _staged(_rename),
    "binary": _write("data.bin", bytes(reversed(range(256))) * 9),
    "new binary": _write("other.bin", b"\0\xff" * 999),
    "mode": lambda folder: (folder / "code.py").chmod(0o755),
    "new with a mode": lambda folder: (_write("run.sh", b"true\n")(folder), (folder / "run.sh").chmod(0o755))[0],
    "spaces": _write("with space and 'quotes\".py", b"x = 2\n"),
    "letters": _write("ümlaut → 日本.py", b"x = 2\n"),
    "strange name": _write("tab\tand\\backslash.py", b"x = 2\n"),
    "no text in the name": lambda folder: Path(os.fsdecode(os.fsencode(folder) + b"/\xff.py")).write_bytes(b"x = 2\n"),
    "line endings": _write("windows.txt", b"one\ntwo\n"),
    "carriage returns": _write("code.py", b"x = 1\r\n"),
    "trailing spaces": _write("code.py", b"x = 1  \n\t \n \n"),
    "no last newline": _write("code.py", b"x = 1"),
    "last newline": _write("no newline.txt", b"one\ntwo\n"),
    "no text": _write("code.py", b"x = '\xff'\n"),
    "link": lambda folder: (folder / "link").symlink_to("folder"),
    "link instead of a file": lambda folder: ((folder / "code.py").unlink(), (folder / "code.py").symlink_to("x"))[1],
    "folder instead of a file": _replace_by_folder,
}


def checked_out(repository: Path, folder: Path) -> Path:
    """Clone the commit of a repository, without its changes."""
    git(repository, "clone", "--quiet", "--no-local", str(repository), str(folder))
    return folder


class TestPatch:
    """All changes, in full."""

    @pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
    def test_restores_the_tree(self, repository: Path, tmp_path: Path, change: Callable[[Path], None]) -> None:
        """On a clean checkout of the commit, the changes make the same tree, by its digest and by its files."""
        change(repository)
        state = describe(repository)
        assert state.patch
        clean = checked_out(repository, tmp_path / "clean")
        apply(clean, state.patch)
        assert state == describe(clean)
        assert tree_of(repository) == tree_of(clean)

    def test_of_a_clean_tree_is_none(self, repository: Path) -> None:
        """Where nothing was changed there is nothing to keep."""
        assert describe(repository).patch is None

    @pytest.mark.parametrize("name", ["core.autocrlf", "diff.noprefix", "diff.mnemonicPrefix", "core.safecrlf"])
    def test_does_not_depend_on_settings(self, repository: Path, tmp_path: Path, name: str) -> None:
        """The user's settings of Git leave the changes applicable, and the digest as it is."""
        CHANGES["changed"](repository)
        CHANGES["new"](repository)
        expected = describe(repository)
        git(repository, "config", name, "input" if name == "core.autocrlf" else "true")
        found = describe(repository)
        assert expected == found
        assert found.patch
        apply(checked_out(repository, tmp_path / "clean"), found.patch)

    @pytest.mark.parametrize("change", ["changed", "new", "new binary", "deleted", "renamed"])
    def test_leaves_the_repository_as_it_is(self, repository: Path, change: str) -> None:
        """No object, no entry of the index, no file stays behind."""
        CHANGES[change](repository)
        git(repository, "status", "--porcelain")  # which refreshes the index
        before = inside_of(repository)
        assert describe(repository).patch
        assert before == inside_of(repository)

    def test_leaves_what_is_staged_as_it_is(self, repository: Path) -> None:
        """A half staged change stays half staged."""
        _staged(CHANGES["changed"])(repository)
        _write("code.py", b"x = 3\n")(repository)
        before = inside_of(repository)
        patch = describe(repository).patch
        assert patch
        assert b"+x = 3" in patch
        assert before == inside_of(repository)

    def test_holds_all_of_the_repository(self, repository: Path) -> None:
        """Asked from a folder in it, changes beside that folder count and are kept."""
        CHANGES["changed"](repository)
        _staged(CHANGES["new"])(repository)
        state = describe(repository / "folder")
        assert state.patch == describe(repository).patch
        assert state.dirty

    @pytest.mark.parametrize("change", ["changed", "new"])
    def test_is_not_kept_if_it_is_large(self, repository: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
        """Of large changes there is the digest only; the limit itself is allowed."""
        CHANGES[change](repository)
        kept = describe(repository)
        assert kept.patch
        monkeypatch.setattr(module, "LARGEST_PATCH", len(kept.patch))
        assert kept == describe(repository)
        monkeypatch.setattr(module, "LARGEST_PATCH", len(kept.patch) - 1)
        assert kept.model_copy(update={"patch": None}) == describe(repository)

    def test_large_new_files_are_not_even_read_by_git(self, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What cannot be kept is not compressed first."""
        monkeypatch.setattr(module, "LARGEST_PATCH", 100)
        _write("large.bin", b"\0" * 101)(repository)
        asked = []
        real = module._git
        monkeypatch.setattr(module, "_git", lambda *args, **keys: (asked.append(args[1]), real(*args, **keys))[1])
        assert describe(repository).patch is None
        assert "read-tree" not in asked

    @pytest.mark.parametrize("kind", ["", "EC ", "RSA ", "OPENSSH ", "ENCRYPTED "])
    @pytest.mark.parametrize("name", ["new.pem", "code.py"])
    def test_is_not_kept_if_it_holds_a_private_key(self, repository: Path, kind: str, name: str) -> None:
        """A key that lies in the folder by mistake does not end up beside the model."""
        _write(name, f"-----BEGIN {kind}PRIVATE KEY-----\nMIG\n".encode())(repository)
        state = describe(repository)
        assert (True, None) == (state.dirty, state.patch)

    @pytest.mark.parametrize(
        "variable",
        ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MLFLOW_TRACKING_PASSWORD", "MODEL_SIGNING_KEY", "GITHUB_TOKEN"],
    )
    def test_is_not_kept_if_it_holds_a_secret(
        self, repository: Path, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        """A secret that the environment holds as well is recognised, wherever it stands in a file."""
        monkeypatch.setenv(variable, "wJalrXUtnFEMI")
        _write("code.py", b"secret = 'wJalrXUtnFEMI'\n")(repository)
        assert (True, None) == (describe(repository).dirty, describe(repository).patch)

    @pytest.mark.parametrize(
        ("name", "value", "written"),
        [
            ("CI_TOKEN", "wJalrXUtnFEMI", b"\0wJalrXUtnFEMI"),
            ("DATABASE_URL", "postgresql://me:wJalrXUtnFEMI@db/x", b"password = wJalrXUtnFEMI"),
            ("HOME", "unchanged", b"\0-----BEGIN PRIVATE KEY-----"),
        ],
        ids=["in a binary file", "of an address", "a key in a binary file"],
    )
    @pytest.mark.parametrize("place", ["new.bin", "code.py"])
    def test_secrets_that_a_patch_does_not_show(
        self, repository: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, written: bytes, place: str
    ) -> None:
        """A binary file stands there compressed, and a password may be a part of an address: both are looked for."""
        if name != "HOME":
            monkeypatch.setenv(name, value)
        _write(place, written)(repository)
        assert describe(repository).patch is None
        _write(place, b"\0 harmless")(repository)
        assert describe(repository).patch is not None

    @pytest.mark.parametrize(("variable", "value"), [("AWS_SECRET_ACCESS_KEY", "x = 2"), ("EDITOR", "secret = 'wJalr")])
    def test_short_and_other_variables_are_no_secrets(
        self, repository: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
    ) -> None:
        """An empty or short value stands in any text, and an ordinary variable is no secret."""
        monkeypatch.setenv(variable, value)
        monkeypatch.setenv("ANOTHER_TOKEN", "")
        _write("code.py", b"secret = 'wJalrXUtnFEMI'\nx = 2\n")(repository)
        assert describe(repository).patch

    def test_that_does_not_fit_is_refused(self, repository: Path, tmp_path: Path) -> None:
        """Changes of another tree are refused, with what Git says, and nothing is changed."""
        _write("code.py", b"x = 2\n")(repository)
        patch = describe(repository).patch
        assert patch
        other = checked_out(repository, tmp_path / "other")
        _write("code.py", b"something else\n")(other)
        with pytest.raises(ProvenanceError, match=r"do not fit their commit \(error: .*code\.py"):
            apply(other, patch)
        assert b"something else\n" == (other / "code.py").read_bytes()

    @pytest.mark.parametrize("patch", [b"no patch", b"diff --git a/x b/x\n", b"\xff"])
    def test_that_is_none_is_refused(self, tmp_path: Path, patch: bytes) -> None:
        """Something else than changes is refused."""
        with pytest.raises(ProvenanceError, match="do not fit their commit"):
            apply(tmp_path, patch)

    def test_does_not_leave_its_folder(self, repository: Path, tmp_path: Path) -> None:
        """Changes of a file outside the folder are refused."""
        _write("code.py", b"x = 2\n")(repository)
        patch = describe(repository).patch
        assert patch
        (tmp_path / "outside.py").write_bytes(b"x = 1\n")
        (tmp_path / "inside").mkdir()
        with pytest.raises(ProvenanceError, match="do not fit their commit"):
            apply(tmp_path / "inside", patch.replace(b"code.py", b"../outside.py"))
        assert b"x = 1\n" == (tmp_path / "outside.py").read_bytes()


def tree_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Map the files in a folder to mode and content; what Git keeps does not count."""
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = (0, os.fsencode(path.readlink()))
        elif path.is_file() and not name.startswith(".git/"):
            found[name] = (path.stat().st_mode & stat.S_IXUSR, path.read_bytes())
    return found


def inside_of(repository: Path) -> tuple[str, str, dict[str, str], str]:
    """Take what Git keeps: the number of objects, the status, every file in .git and what is staged."""
    files = {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (repository / ".git").rglob("*")
        if path.is_file() and path.name != "index"
    }
    staged = git(repository, "ls-files", "--stage")
    return git(repository, "count-objects", "-v"), git(repository, "status", "--porcelain"), files, staged


NAMES = st.sampled_from(["code.py", "data.bin", "windows.txt", "folder/deep.py", "new.py", "ö ä/neu.py", "b.bin"])
CONTENTS = st.one_of(
    st.binary(max_size=40),
    st.lists(st.sampled_from([b"x = 1\n", b"y\r\n", b"\n", b" \n", b"+a\n", b"-b\n", b"--- a/c\n"]), max_size=30).map(
        b"".join
    ),
    st.none(),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(changes=st.dictionaries(NAMES, st.tuples(CONTENTS, st.booleans(), st.booleans()), min_size=1, max_size=5))
def test_any_changes_can_be_restored(prepared: Path, changes: dict[str, tuple[bytes | None, bool, bool]]) -> None:
    """Whatever was written, deleted, made executable or staged: commit and changes make the same tree."""
    with tempfile.TemporaryDirectory() as folder:
        work, clean = Path(folder, "work"), Path(folder, "clean")
        shutil.copytree(prepared, work)
        shutil.copytree(prepared, clean)
        for name, (content, executable, staged) in changes.items():
            if content is None:
                (work / name).unlink(missing_ok=True)
            else:
                _write(name, content)(work)
                (work / name).chmod(0o755 if executable else 0o644)
            if staged and ((work / name).exists() or name in FILES):
                git(work, "add", "--all", name)
        state = describe(work)
        assert state.dirty is (state.patch is not None)
        if state.patch:
            apply(clean, state.patch)
        assert state == describe(clean)
        assert tree_of(work) == tree_of(clean)


class TestCommit:
    """What a repository holds of a commit."""

    def test_holds_its_commits(self, repository: Path) -> None:
        """A commit of the repository is held; another one, a file's object or a word is not."""
        blob = git(repository, "hash-object", "code.py")
        assert [True, False, False, False] == [
            holds(repository, commit) for commit in (describe(repository).commit, "0" * 40, blob, "word")
        ]


CLEAN = {"commit": "0a" * 20, "dirty": False, "diff_sha256": NOTHING}


class TestBaked:
    """What the builder of an image said stands in for the repository that it lacks."""

    def test_is_taken(self, tmp_path: Path) -> None:
        """Commit and changes are those that the builder named."""
        (tmp_path / "code.json").write_text(json.dumps(CLEAN), encoding="utf-8")
        assert GitState(**CLEAN) == describe(tmp_path)

    def test_a_repository_goes_before_it(self, repository: Path) -> None:
        """In a clone a file of this name is a new file like any other."""
        (repository / "code.json").write_text(json.dumps(CLEAN), encoding="utf-8")
        state = describe(repository)
        assert (git(repository, "rev-parse", "HEAD"), True) == (state.commit, state.dirty)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"commit": ""},
            {"commit": "main"},
            {"commit": "0A" * 20},
            {"diff_sha256": ""},
            {"dirty": True},
            {"diff_sha256": "1" * 64},
            {"dirty": "perhaps"},
            {"other": 1},
        ],
        ids=str,
    )
    def test_nonsense_is_refused(self, tmp_path: Path, wrong: dict[str, object]) -> None:
        """Who builds without naming the code gets an image that makes no models, and is told what to do."""
        (tmp_path / "code.json").write_text(json.dumps({**CLEAN, **wrong}), encoding="utf-8")
        with pytest.raises(ProvenanceError, match=r"does not say of which commit it was built.*`make images`"):
            describe(tmp_path)


class TestMaterialise:
    """The files of a commit in a folder that is in no repository."""

    def test_writes_the_commit(self, repository: Path, tmp_path: Path) -> None:
        """All files of the commit, and nothing that was changed since."""
        commit, before = describe(repository).commit, tree_of(repository)
        CHANGES["changed"](repository)
        CHANGES["new"](repository)
        (tmp_path / "tree").mkdir()
        materialise(repository, commit, tmp_path / "tree", None)
        assert before == tree_of(tmp_path / "tree")

    def test_writes_the_folder_that_is_asked_for(self, repository: Path, tmp_path: Path) -> None:
        """A project may be a folder of a larger repository: its files only, by their names in it."""
        (repository / "team/project").mkdir(parents=True)
        _write("team/project/its.py", b"y = 1\n")(repository)
        git(repository, "add", "--all")
        git(repository, "commit", "--quiet", "--message", "Project")
        (tmp_path / "tree").mkdir()
        materialise(repository / "team/project", describe(repository).commit, tmp_path / "tree", None)
        assert ["its.py"] == [path.name for path in (tmp_path / "tree").iterdir()]

    @pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
    def test_writes_the_changes_on_top(self, repository: Path, tmp_path: Path, change: Callable[[Path], None]) -> None:
        """With its changes, the tree is the one they were made in."""
        change(repository)
        state = describe(repository)
        (tmp_path / "tree").mkdir()
        materialise(repository, state.commit, tmp_path / "tree", state.patch)
        assert tree_of(repository) == tree_of(tmp_path / "tree")

    def test_works_in_a_folder_of_another_repository(self, repository: Path) -> None:
        """A folder for temporary files may lie in a repository: changes are applied all the same."""
        CHANGES["changed"](repository)
        state = describe(repository)
        (repository / "tree.log").mkdir()
        materialise(repository, state.commit, repository / "tree.log", state.patch)
        assert b"x = 2\n" == (repository / "tree.log/code.py").read_bytes()

    def test_refuses_a_commit_that_is_not_there(self, repository: Path, tmp_path: Path) -> None:
        """Without the commit there are no files."""
        (tmp_path / "tree").mkdir()
        with pytest.raises(ProvenanceError):
            materialise(repository, "0" * 40, tmp_path / "tree", None)

    def test_refuses_changes_that_do_not_fit(self, repository: Path, tmp_path: Path) -> None:
        """Changes of a later commit do not fit an earlier one."""
        first = describe(repository).commit
        _write("code.py", b"something else\n")(repository)
        git(repository, "commit", "--quiet", "--all", "--message", "Other")
        _write("code.py", b"yet something else\n")(repository)
        (tmp_path / "tree").mkdir()
        with pytest.raises(ProvenanceError, match="do not fit their commit"):
            materialise(repository, first, tmp_path / "tree", describe(repository).patch)


class TestWorktree:
    """A checkout beside the working tree."""

    def test_leaves_the_callers_tree_alone(self, repository: Path, tmp_path: Path) -> None:
        """Branch, changes and staged files stay, while it is there and afterwards."""
        first = describe(repository).commit
        _write("code.py", b"x = 9\n")(repository)
        git(repository, "commit", "--quiet", "--all", "--message", "Second")
        _staged(CHANGES["new"])(repository)
        CHANGES["binary"](repository)
        before, branch = describe(repository), git(repository, "branch", "--show-current")
        add_worktree(repository, first, tmp_path / "worktree")
        found = {name: content for name, (_, content) in tree_of(tmp_path / "worktree").items()}
        assert FILES == {name: content for name, content in found.items() if name != ".git"}
        assert first == describe(tmp_path / "worktree").commit
        assert before == describe(repository)
        remove_worktree(repository, tmp_path / "worktree")
        assert (before, branch) == (describe(repository), git(repository, "branch", "--show-current"))
        assert not (tmp_path / "worktree").exists()
        assert 1 == len(git(repository, "worktree", "list").splitlines())

    @pytest.mark.parametrize("left", [True, False], ids=["half gone", "gone"])
    def test_can_be_removed_when_it_has_vanished(self, repository: Path, tmp_path: Path, left: bool) -> None:
        """What somebody has deleted already is forgotten, and the place can be used again."""
        commit = describe(repository).commit
        add_worktree(repository, commit, tmp_path / "worktree")
        if left:
            (tmp_path / "worktree/.git").unlink()
        else:
            shutil.rmtree(tmp_path / "worktree")
        remove_worktree(repository, tmp_path / "worktree")
        assert 1 == len(git(repository, "worktree", "list").splitlines())
        add_worktree(repository, commit, tmp_path / "worktree")
        assert not describe(tmp_path / "worktree").dirty

    def test_takes_the_changes(self, repository: Path, tmp_path: Path) -> None:
        """Changes applied in it make the state that was described."""
        CHANGES["new and staged"](repository)
        CHANGES["binary"](repository)
        state = describe(repository)
        add_worktree(repository, state.commit, tmp_path / "worktree")
        assert state.patch
        apply(tmp_path / "worktree", state.patch)
        assert state == describe(tmp_path / "worktree")

    def test_refuses_a_commit_that_is_not_there(self, repository: Path, tmp_path: Path) -> None:
        """Without the commit there is no worktree."""
        with pytest.raises(ProvenanceError):
            add_worktree(repository, "0" * 40, tmp_path / "worktree")
