"""The code of a place: its commit, with the changes that were kept."""

from pathlib import Path

from ml_lifecycle.errors import ReproductionError
from ml_lifecycle.model_folder import ModelFolder
from ml_lifecycle.provenance import git
from ml_lifecycle.reproduction.place import Place


def check_out(project: Path, folder: ModelFolder, place: Place, patch: str) -> None:
    """Make the worktree of a place.

    Args:
        project: the clone with the commit.
        folder: holds the changes to it.
        place: whose worktree is made.
        patch: the file of the folder with the changes.

    Raises:
        ReproductionError: the commit is not here, or its changes were not kept, or are not those of the record.
    """
    state = place.run.git
    place.say(f"checking out {state.commit}")
    if not git.holds(project, state.commit):
        fetch = "git fetch --unshallow" if git.is_shallow(project) else "git fetch --all"
        raise ReproductionError(
            f"The commit {state.commit} is not in this repository. Fetch it (`{fetch}`), or ask whoever made the "
            "version for it."
        )
    changes = folder.changes(patch) if state.dirty else None
    if state.dirty and changes is None:
        raise ReproductionError(
            f"It was made with uncommitted changes to {state.commit} that were not kept: they were larger than "
            f"{git.LARGEST_PATCH:,} bytes, or held a secret. It cannot be made again from a commit."
        )
    git.add_worktree(project, state.commit, place.tree)
    if changes is not None:
        git.apply(place.tree, changes)
    found = git.describe(place.tree).diff_sha256
    if found != state.diff_sha256:
        raise ReproductionError(
            f"The changes that were kept are not those of the record: recorded SHA-256 {state.diff_sha256}, "
            f"found {found}."
        )
