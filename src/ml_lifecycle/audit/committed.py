"""The links of what commits hold: the commit itself, its lock, its configuration, its versions of the data."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from ml_lifecycle.audit.finding import BrokenError, UncheckedError, differences, same
from ml_lifecycle.audit.subject import Subject
from ml_lifecycle.errors import ProvenanceError
from ml_lifecycle.nested import flat
from ml_lifecycle.provenance import git, raw_copies
from ml_lifecycle.provenance.committed import parameters_in
from ml_lifecycle.provenance.record import CHANGES, DATA_CHANGES, RunRecord
from ml_lifecycle.provenance.run import LOCK

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ENVIRONMENT = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class Stage:
    """A run that made the version or its data: what its links are called beside, and its changes to the commit."""

    suffix: str
    run: RunRecord
    patch: str


def stages(subject: Subject) -> list[Stage]:
    """The run that trained; before it the one that made the data, if it was of other code or parameters."""
    try:
        provenance = subject.provenance
    except UncheckedError:
        return []  # "record" says so
    training = Stage("", provenance.run, CHANGES)
    if provenance.data is None or provenance.data.run.origin == provenance.run.origin:
        return [training]
    return [Stage(" (data)", provenance.data.run, DATA_CHANGES), training]


def commit(subject: Subject, stage: Stage, tree: Path) -> str:
    """The commit is in the repository, and the changes that were kept fit it; both go to the folder ``tree``."""
    state = stage.run.git
    if not _COMMIT.fullmatch(state.commit):
        raise BrokenError(f"expected the full name of a commit, found {state.commit}")
    if not git.holds(subject.project, state.commit):
        if git.is_shallow(subject.project):
            raise UncheckedError(f"this clone is shallow and lacks {state.commit}: `git fetch --unshallow`")
        raise BrokenError(f"expected commit {state.commit} in this repository, found none; fetch it, or ask who has it")
    changes = subject.folder.changes(stage.patch) if state.dirty else None
    tree.mkdir()
    try:
        git.materialise(subject.project, state.commit, tree, changes)
    except ProvenanceError as error:
        raise BrokenError(f"expected a commit with changes that fit it, found: {error}") from error
    if state.dirty and changes is None:
        raise UncheckedError(
            f"made with uncommitted changes that were not kept (SHA-256 {state.diff_sha256}); what follows is "
            "compared with the commit alone"
        )
    beside = ", with the changes that were kept" if state.dirty else ""
    return f"{state.commit} is in this repository{beside}"


def lock(stage: Stage, tree: Path) -> str:
    """The lock at the commit is the recorded one."""
    found = hashlib.sha256(_lock_in(tree)).hexdigest()
    same(f"SHA-256 of {LOCK} at the commit", stage.run.environment.lock_sha256, found)
    return f"{LOCK} at the commit has the recorded SHA-256"


def configuration(stage: Stage, tree: Path) -> str:
    """The parameters of the record are those of the commit."""
    _lock_in(tree)
    run = stage.run
    if not _ENVIRONMENT.fullmatch(run.kedro_environment):  # it becomes a path
        raise BrokenError(f"expected the name of an environment, found {run.kedro_environment}")
    try:
        found = parameters_in(tree, run.kedro_environment, run.runtime_parameters)
    except Exception as error:
        raise UncheckedError(f"the configuration at the commit cannot be read: {error}") from error
    recorded, given = flat(run.parameters), len(flat(run.runtime_parameters))
    if told := differences(recorded, flat(found)):
        raise BrokenError(f"parameters at the commit (found) and in the record (expected): {'; '.join(told)}")
    beside = f", {given} of them from the command line or conf/local" if given else ""
    return f"{len(recorded)} parameters are those of the commit{beside}"


def data_versions(subject: Subject, tree: Path) -> str:
    """DVC's records at the commit hold the recorded MD5 of each raw table."""
    _lock_in(tree)
    locks = raw_copies.recorded(tree)
    raw_inputs = subject.provenance.raw_inputs
    for name, raw in raw_inputs.items():
        same(f"MD5 of '{name}' at the commit", raw.md5, raw_copies.locked(raw.path, locks))
    return f"{len(raw_inputs)} raw tables are locked at the commit with the recorded MD5"


def _lock_in(tree: Path) -> bytes:
    try:
        return (tree / LOCK).read_bytes()
    except FileNotFoundError:
        raise UncheckedError("the commit is not here") from None
