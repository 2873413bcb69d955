"""The state of the code: commit, and whether and how the files differ from it."""

import hashlib
import subprocess
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


def _git(project: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(project), *arguments]
    try:
        return subprocess.run(command, check=True, capture_output=True).stdout
    except FileNotFoundError:
        raise ProvenanceError("git is not installed, so the code of this run cannot be named. Install git.") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()[:1]
        raise ProvenanceError(
            f"The commit of {project} cannot be determined ({' '.join(said)}). "
            "Run inside a Git clone that has at least one commit."
        ) from None


def describe(project: Path) -> GitState:
    """Describe the code in the folder ``project``.

    The digest covers the changes of tracked files and the names and contents of files that are
    neither tracked nor ignored; a clean tree has the digest of nothing.

    Raises:
        ProvenanceError: there is no git, no repository or no commit.
    """
    commit = _git(project, "rev-parse", "HEAD").decode().strip()
    digest = hashlib.sha256(_git(project, *DIFF, "HEAD"))
    untracked = _git(project, "ls-files", "--others", "--exclude-standard", "-z").split(b"\0")
    for name in sorted(filter(None, untracked)):
        digest.update(name + b"\0" + hashlib.sha256((project / name.decode()).read_bytes()).digest())
    nothing = hashlib.sha256().hexdigest()
    return GitState(commit=commit, dirty=digest.hexdigest() != nothing, diff_sha256=digest.hexdigest())
