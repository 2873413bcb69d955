"""The state of the code: commit, and whether and how the files differ from it."""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ml_lifecycle.errors import ProvenanceError
from ml_lifecycle.provenance.record import GitState

#: Written out so that nobody's settings change the digest.
DIFF = (
    "-c", "core.quotePath=true", "-c", "diff.suppressBlankEmpty=false", "diff", "-O/dev/null", "--binary",
    "--full-index", "--unified=3", "--inter-hunk-context=0", "--src-prefix=a/", "--dst-prefix=b/",
    "--diff-algorithm=myers", "--no-indent-heuristic", "--no-renames", "--no-color", "--no-ext-diff",
    "--no-textconv", "--ignore-submodules=none", "--submodule=short",
)  # fmt: skip


#: In an image: commit, whether the code was changed, and the digest of the changes, as JSON.
BAKED = "code.json"
_NOTHING = hashlib.sha256().hexdigest()
_COMMIT, _SHA256 = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}"), re.compile(r"[0-9a-f]{64}")
#: Bytes of changes that are kept with a model, at most.
LARGEST_PATCH = 1_000_000
_SECRET_NAME = re.compile(r"SECRET|PASSWORD|PASSWD|PASSPHRASE|TOKEN|CREDENTIAL|API_KEY|SIGNING_KEY$|_PAT$")
_PASSWORD_IN_ADDRESS = re.compile(r"://[^:/@\s]*:([^@\s]+)@")
_SHORTEST_SECRET = 8


def _git(project: Path, *arguments: str, **variables: str) -> bytes:
    command = ["git", "-C", str(project), *arguments]
    try:
        return subprocess.run(command, check=True, capture_output=True, env={**os.environ, **variables}).stdout
    except FileNotFoundError:
        raise ProvenanceError("git is not installed, so the code of this run cannot be named. Install git.") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()[:1]
        raise ProvenanceError(
            f"The commit of {project} cannot be determined ({' '.join(said)}). "
            "Run inside a Git clone that has at least one commit."
        ) from None


def _new(project: Path) -> dict[str, Path]:
    """Map the names of files that the commit lacks and that are not ignored to where they are, staged or not."""
    listed = _git(project, "ls-files", "--others", "--exclude-standard", "-z").split(b"\0")
    untracked = [project / os.fsdecode(name) for name in filter(None, listed)]
    root = Path(os.fsdecode(_git(project, "rev-parse", "--show-toplevel").removesuffix(b"\n")))
    added = ("diff", "--name-only", "-z", "--no-renames", "--no-relative", "--diff-filter=A", "HEAD")
    staged = [root / os.fsdecode(name) for name in filter(None, _git(project, *added).split(b"\0"))]
    found = {os.path.relpath(path, project): path for path in untracked}
    found |= {os.path.relpath(path, project.resolve()): path for path in staged}
    return dict(sorted(found.items(), key=lambda item: os.fsencode(item[0])))


def _content(path: Path) -> bytes:
    if path.is_dir() and not path.is_symlink():
        raise ProvenanceError(
            f"{path} is a Git repository of its own within this one, so its state cannot be named. Ignore it in "
            ".gitignore, move it away, or add it as a submodule."
        )
    return os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()


def _known_secrets() -> list[bytes]:
    """The secrets that the environment holds: of variables named so, and passwords within addresses."""
    named = [value for name, value in os.environ.items() if _SECRET_NAME.search(name)]
    within = [found[1] for value in os.environ.values() if (found := _PASSWORD_IN_ADDRESS.search(value))]
    return [value.encode() for value in (*named, *within) if len(value) >= _SHORTEST_SECRET]


def _holds_secret(patch: bytes, binary: Iterable[bytes]) -> bool:
    """Whether changes add a private key, or a secret that the environment holds as well.

    ``binary``: contents of changed files that the patch does not show as they are.
    """
    lines = b"\n".join(line for line in patch.split(b"\n") if line.startswith(b"+"))
    return any(secret in added for added in (lines, *binary) for secret in (b"PRIVATE KEY-----", *_known_secrets()))


def _binary_contents(project: Path, new: Iterable[Path]) -> list[bytes]:
    """Contents of changed and new files that Git shows as binary."""
    root = Path(os.fsdecode(_git(project, "rev-parse", "--show-toplevel").removesuffix(b"\n")))
    listed = _git(project, "diff", "--name-only", "-z", "--no-renames", "--no-relative", "--diff-filter=d", "HEAD")
    changed = (root / os.fsdecode(name) for name in listed.split(b"\0") if name)
    contents = (_content(path) for path in {*new, *changed} if path.is_symlink() or path.is_file())
    return [content for content in contents if b"\0" in content]


def _patch(project: Path, new: Iterable[Path]) -> bytes | None:
    """All changes as `git apply` takes them, new files included; None if they are large or hold a secret.

    New files are added to an index and objects of their own, so that the repository stays as it is.
    """
    if sum(path.lstat().st_size for path in new) > LARGEST_PATCH:
        return None
    with tempfile.TemporaryDirectory() as folder:
        index, objects = Path(folder) / "index", Path(folder) / "objects"
        objects.mkdir()
        own = _git(project, "rev-parse", "--path-format=absolute", "--git-path", "objects").decode().strip()
        variables = {
            "GIT_INDEX_FILE": str(index),
            "GIT_OBJECT_DIRECTORY": str(objects),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": own,
        }
        _git(project, "read-tree", "HEAD", **variables)
        _git(project, "-c", "core.safecrlf=false", "add", "--all", **variables)
        patch = _git(project, *DIFF, "--cached", "HEAD", **variables)
    if not 0 < len(patch) <= LARGEST_PATCH:  # none if all of it is ignored
        return None
    return None if _holds_secret(patch, _binary_contents(project, new)) else patch


def describe(project: Path) -> GitState:
    """Describe the code in the folder ``project``.

    The digest covers the changes of the commit's files, and the names and contents of new files that
    are not ignored, staged or not; a clean tree has the digest of nothing.

    In an image, which holds no repository, it is what the builder said of the code in the file `BAKED`.

    Raises:
        ProvenanceError: there is no git, no repository or no commit, or the builder said nothing.
    """
    if is_image(project):
        return _baked(project / BAKED)
    commit = _git(project, "rev-parse", "HEAD").decode().strip()
    digest = hashlib.sha256(_git(project, *DIFF, "--diff-filter=a", "HEAD"))
    new = _new(project)
    for name, path in new.items():
        digest.update(os.fsencode(name) + b"\0" + hashlib.sha256(_content(path)).digest())
    dirty = digest.hexdigest() != _NOTHING
    patch = _patch(project, new.values()) if dirty else None
    return GitState(commit=commit, dirty=dirty, diff_sha256=digest.hexdigest(), patch=patch)


def is_image(project: Path) -> bool:
    """Whether the folder ``project`` is that of an image: its builder has said what the code is."""
    return (project / BAKED).is_file() and not (project / ".git").exists()


def _baked(file: Path) -> GitState:
    told = file.read_bytes()
    with contextlib.suppress(ValueError):
        state = GitState.model_validate_json(told)
        named = _COMMIT.fullmatch(state.commit) and _SHA256.fullmatch(state.diff_sha256)
        if named and state.dirty == (state.diff_sha256 != _NOTHING):
            return state
    raise ProvenanceError(
        "The image does not say of which commit it was built: "
        f"{file.name} holds {told.decode(errors='replace').strip()}. Build it with `make images`, or give "
        "`docker build` the arguments that `python deploy/images.py arguments` prints."
    )


def holds(project: Path, commit: str) -> bool:
    """Whether the repository holds a commit."""
    try:
        _git(project, "cat-file", "-e", f"{commit}^{{commit}}")
    except ProvenanceError:
        return False
    return True


def is_shallow(project: Path) -> bool:
    """Whether the repository lacks its older commits."""
    return _git(project, "rev-parse", "--is-shallow-repository").strip() == b"true"


def materialise(project: Path, commit: str, folder: Path, patch: bytes | None) -> None:
    """Write the files of a commit into an empty folder, with changes on top.

    Raises:
        ProvenanceError: there is no such commit, or the changes do not fit it.
    """
    repository = _git(project, "rev-parse", "--absolute-git-dir").decode().removesuffix("\n")
    with tempfile.TemporaryDirectory() as place:
        index = {"GIT_INDEX_FILE": str(Path(place) / "index")}
        _git(project, "read-tree", f"{commit}:./", **index)  # the project may be a folder of the repository
        _git(folder, f"--git-dir={repository}", f"--work-tree={folder.resolve()}", "checkout-index", "--all", **index)
    if patch:
        apply(folder, patch)


def apply(folder: Path, patch: bytes) -> None:
    """Apply changes to the files in a folder.

    Raises:
        ProvenanceError: they do not fit.
    """
    outside = {"GIT_CEILING_DIRECTORIES": str(folder.parent)}  # a folder that is in no repository is fine as well
    command = ["git", "apply", "--whitespace=nowarn", "-"]
    done = subprocess.run(
        command, cwd=folder, input=patch, check=False, capture_output=True, env={**os.environ, **outside}
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[:1]
        raise ProvenanceError(f"The changes that were kept do not fit their commit ({' '.join(said)}).")


def add_worktree(project: Path, commit: str, folder: Path) -> None:
    """Check a commit out into a folder, beside the working tree; nothing of the caller's is touched."""
    _git(project, "worktree", "add", "--quiet", "--detach", "--force", str(folder), commit)


def remove_worktree(project: Path, folder: Path) -> None:
    """Remove a folder made by `add_worktree`, also if it is half gone; no other worktree is touched."""
    for _ in range(2):  # one that is half gone is none to Git; one that is gone is forgotten
        with contextlib.suppress(ProvenanceError):
            _git(project, "worktree", "remove", "--force", "--force", str(folder))
        shutil.rmtree(folder, ignore_errors=True)
