"""The chain of a version: all its links, in order."""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ml_lifecycle.audit import committed, decided, stored, tracked
from ml_lifecycle.audit.finding import Finding, State, check
from ml_lifecycle.audit.raw_data import raw_data
from ml_lifecycle.audit.subject import Subject
from ml_lifecycle.errors import RegistryError
from ml_lifecycle.promotion import ALIASES, Registrar
from ml_lifecycle.registry import versions
from ml_lifecycle.registry.versions import Version


def findings(subject: Subject) -> list[Finding]:
    """Check every link, each for itself."""
    return list(_findings(subject))


def _findings(subject: Subject) -> Iterator[Finding]:
    yield check("signature", partial(stored.signature, subject))
    yield check("model", partial(stored.model, subject))
    yield check("record", partial(stored.record, subject))
    yield check("registry", partial(tracked.registry, subject))
    yield check("run", partial(tracked.run, subject))
    yield check("parameters", partial(tracked.parameters, subject))
    yield check("metrics", partial(tracked.metrics, subject))
    with tempfile.TemporaryDirectory() as temporary:
        yield from _code(subject, Path(temporary))
    yield check("raw data", partial(raw_data, subject))
    yield check("probe", partial(stored.probe, subject))
    for alias in ALIASES:
        yield check(f"@{alias}", partial(decided.alias, subject, alias))
    yield check("decisions", partial(decided.decisions, subject))


def _code(subject: Subject, folder: Path) -> Iterator[Finding]:
    """Check what the commits hold: that of the data, if it is another, and that of the training."""
    for number, stage in enumerate(committed.stages(subject)):
        tree = folder / str(number)
        yield check(f"commit{stage.suffix}", partial(committed.commit, subject, stage, tree))
        yield check(f"lock{stage.suffix}", partial(committed.lock, stage, tree))
        yield check(f"configuration{stage.suffix}", partial(committed.configuration, stage, tree))
        if number == 0:
            yield check("data versions", partial(committed.data_versions, subject, tree))


def audit(project: Path, registrar: Registrar, version: Version, *, deep: bool = False) -> list[Finding]:
    """Audit a version: one finding for each link; only one if the artifact store holds nothing of it."""
    try:
        with versions.folder(version) as folder:
            return findings(Subject(project, registrar, version, folder, deep))
    except (RegistryError, ValueError) as error:  # an address that is none is a ValueError
        detail = f"expected its folder in the artifact store, found: {error}"
        return [Finding(link="model", state=State.BROKEN, detail=detail)]
