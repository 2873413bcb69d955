"""Raw inputs are what DVC recorded of them, or the run does not start."""

import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ml_lifecycle.errors import RawInputError
from ml_lifecycle.provenance.record import RawInput

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo

logger = logging.getLogger(__name__)

#: In .dvc/config, without an address: on AWS the bucket of this name belongs to somebody else.
SHIPPED_REMOTE = "s3://dvc"


def open_repo(project: Path) -> "Repo":
    """Open the DVC project in a folder.

    Raises:
        RawInputError: there is none.
    """
    from dvc.exceptions import NotDvcRepoError  # imported here: only runs that read raw inputs pay for it
    from dvc.repo import Repo

    try:
        return Repo(str(project))
    except NotDvcRepoError:
        raise RawInputError(
            f"{project} is not a DVC project, so its raw inputs cannot be checked. Run `dvc init` and `dvc add` them."
        ) from None


def _record_of(repo: "Repo", name: str, path: Path) -> "Output":
    """Find DVC's record of a file, or of the folder it is in."""
    from dvc.exceptions import OutputNotFoundError

    relative = path.relative_to(repo.root_dir)
    try:
        out = repo.find_outs_by_path(str(path), strict=False)[0]
    except OutputNotFoundError:
        raise RawInputError(
            f"The raw input '{name}' ({relative}) is not locked by DVC. "
            f"Lock it: `dvc add {relative}`, and commit {relative}.dvc."
        ) from None
    if not out.hash_info:
        raise RawInputError(
            f"DVC has recorded no hash of the raw input '{name}' ({relative}). "
            f"Make it: `dvc repro {out.stage.addressing}`, and commit dvc.lock."
        )
    return out


def _dvc(project: Path, *arguments: str) -> str | None:
    """Run DVC; return what it complained of, None if it succeeded."""
    command = [sys.executable, "-m", "dvc", *arguments]
    result = subprocess.run(command, cwd=project, check=False, capture_output=True, text=True)
    if result.returncode == 0:
        return None
    logger.debug("%s: %s", " ".join(arguments), result.stderr.strip())
    complaints = [line for line in result.stderr.splitlines() if line.startswith("ERROR:")]
    return complaints[0].removeprefix("ERROR: ") if complaints else f"exit code {result.returncode}"


def has_remote(repo: "Repo") -> bool:
    """Whether there is a remote to ask: the one that comes with the project needs an address."""
    default = repo.config["core"].get("remote")
    remotes = repo.config["remote"]
    chosen = [remotes[default]] if default in remotes else list(remotes.values())
    return any(
        remote["url"] != SHIPPED_REMOTE or remote.get("endpointurl") or os.environ.get("AWS_ENDPOINT_URL")
        for remote in chosen
    )


def _restore(repo: "Repo", out: "Output") -> tuple[str | None, str]:
    """Bring a missing raw input back: from the cache, a remote, or by running its stage.

    Returns how, or None if nothing worked; and what the remote complained of, if it did.
    """
    project, path, stage = Path(repo.root_dir), str(out.fs_path), out.stage
    if _dvc(project, "checkout", path) is None:
        return "from the DVC cache", ""
    complaint = _dvc(project, "pull", path) if has_remote(repo) else "no remote is set up"
    if complaint is None:
        return "from the DVC remote", ""
    if stage.cmd and _dvc(project, "repro", "--single-item", stage.addressing) is None:
        return f"by its stage '{stage.addressing}'", ""
    return None, complaint


def _accept(out: "Output") -> str:
    return f"dvc commit --force {out.stage.addressing}"


def _verify(repo: "Repo", name: str, path: Path) -> RawInput:
    out = _record_of(repo, name, path)
    relative = path.relative_to(repo.root_dir)
    recorded = str(out.hash_info.value)
    if not path.exists():
        how, complaint = _restore(repo, out)
        if how is None or not path.exists():
            raise RawInputError(
                f"The raw input '{name}' ({relative}, MD5 {recorded}) is missing, and neither DVC's cache, a remote "
                f"({complaint}) nor a stage could restore it. Set up a remote that holds it "
                f"(`dvc remote add`, or docs/how-to/use-minio.md) and run `dvc pull {relative}`, or put the file back."
            )
        logger.info("raw input '%s' restored %s", name, how)
    found = str(out.get_hash().value)  # DVC's state answers for files it has hashed and that did not change
    if found != recorded:
        raise RawInputError(
            f"The raw input '{name}' ({relative}) has changed: DVC recorded MD5 {recorded}, found {found}. "
            f"Nothing was run. To accept the change: `{_accept(out)}` and commit the record; "
            f"to undo it: `dvc checkout --force {relative}`."
        )
    return RawInput(path=relative.as_posix(), md5=recorded, size=path.stat().st_size)


def verify(project: Path, paths: Mapping[str, Path]) -> dict[str, RawInput]:
    """Check each raw input against DVC's record, restoring it if it is missing.

    Args:
        project: root of the DVC project.
        paths: for each dataset name its file.

    Raises:
        RawInputError: a file is not locked, cannot be restored, or differs from its record.
    """
    with open_repo(project) as repo:
        return {name: _verify(repo, name, project / path) for name, path in sorted(paths.items())}
