"""The audit: each link between a version and the world, checked against the world."""

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ml_lifecycle import alias_history, faults
from ml_lifecycle.errors import LifecycleError, ProvenanceError, RegistryError
from ml_lifecycle.gate import Answer
from ml_lifecycle.model_folder import MODEL, PROVENANCE, ModelFolder
from ml_lifecycle.nested import flat
from ml_lifecycle.pipelines.training.evaluation import track_metrics
from ml_lifecycle.pipelines.training.nodes import feature_columns
from ml_lifecycle.promotion import ALIASES, Registrar, signature_of
from ml_lifecycle.provenance import git, raw_copies
from ml_lifecycle.provenance.committed import parameters_in
from ml_lifecycle.provenance.record import (
    CHANGES,
    DATA_CHANGES,
    Provenance,
    RunRecord,
    digest_of_parameters,
    digest_of_probe,
    raw_input_tags,
    run_tags,
)
from ml_lifecycle.provenance.run import LOCK
from ml_lifecycle.registry import records, runs, versions
from ml_lifecycle.registry.versions import Version

#: Parameters that every run that trains logs.
TRAINED_WITH = "model"
#: Begins the metrics that a run takes from its evaluation (``track_metrics``).
MEASURED = "judge."
#: Begins the tags with the hashes of raw inputs (``raw_input_tags``).
RAW_INPUT_TAG = "dvc."
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
#: What MLflow takes as the name of a run.
_RUN = re.compile(r"[A-Za-z0-9][\w-]{0,255}")
_ENVIRONMENT = re.compile(r"\w[\w.-]*")
#: What a decision and the move because of it both tell: the decision's name of it, and the move's.
TOLD_TWICE = {
    **{name: name for name in ("alias", "action", "forced", "reason", "by", "where")},
    "digest": "to_digest",
    "incumbent": "found",
}


class State(StrEnum):
    """What came of checking a link."""

    HOLDS = "holds"
    BROKEN = "broken"
    UNCHECKED = "cannot be checked here"


class Finding(BaseModel):
    """One link of the chain: what was compared, and what came of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    link: str
    state: State
    detail: str


def overall(findings: list[Finding]) -> Answer:
    """One broken link is a no; otherwise one that could not be checked leaves it open."""
    states = {finding.state for finding in findings}
    if State.BROKEN in states:
        return Answer.NO
    return Answer.YES if states == {State.HOLDS} else Answer.CANNOT


class _BrokenError(Exception):
    """A link that does not hold; the message says what was expected and what was found."""


class _UncheckedError(Exception):
    """A link that cannot be checked here; the message says why."""


def _same(what: str, expected: Any, found: Any) -> None:
    if expected != found:
        raise _BrokenError(f"{what}: expected {_shown(expected)}, found {_shown(found)}")


def _shown(value: Any) -> str:
    return "nothing" if value in (None, "") else str(value)


def _differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    names = sorted({*expected, *found})
    return [
        f"{name}: expected {_shown(expected.get(name))}, found {_shown(found.get(name))}"
        for name in names
        if expected.get(name) != found.get(name)
    ]


@dataclass(frozen=True)
class Audit:
    """The audit of one version.

    Attributes:
        project: the clone that holds the code and DVC's records.
        registrar: of the model: history of its aliases, trusted keys.
        version: what the registry says.
        folder: a copy of what the artifact store keeps.
        deep: whether all raw bytes are read again.
    """

    project: Path
    registrar: Registrar
    version: Version
    folder: ModelFolder
    deep: bool = False

    @cached_property
    def _provenance(self) -> Provenance:
        try:
            return self.folder.provenance()
        except (ProvenanceError, RegistryError) as error:
            raise _UncheckedError(f"the record cannot be read: {error}") from error

    def findings(self) -> list[Finding]:
        """Check every link, each for itself."""
        return list(self._findings())

    def _findings(self) -> Iterator[Finding]:
        yield self._check("signature", self._signature)
        yield self._check("model", self._model)
        yield self._check("record", self._record)
        yield self._check("registry", self._registry)
        yield self._check("run", self._run)
        yield self._check("parameters", self._parameters)
        yield self._check("metrics", self._metrics)
        with tempfile.TemporaryDirectory() as temporary:
            yield from self._code(Path(temporary))
        yield self._check("raw data", self._raw_data)
        yield self._check("probe", self._probe)
        for alias in ALIASES:
            yield self._check(f"@{alias}", partial(self._alias, alias))
        yield self._check("decisions", self._decisions)

    def _code(self, folder: Path) -> Iterator[Finding]:
        """Check what the commits hold: that of the data, if it is another, and that of the training."""
        for number, (name, run, patch) in enumerate(self._stages()):
            tree = folder / str(number)
            yield self._check(f"commit{name}", partial(self._commit, run, patch, tree))
            yield self._check(f"lock{name}", partial(self._lock, run, tree))
            yield self._check(f"configuration{name}", partial(self._configuration, run, tree))
            if number == 0:
                yield self._check("data versions", partial(self._data_versions, tree))

    @staticmethod
    def _check(link: str, ask: Callable[[], str]) -> Finding:
        try:
            return Finding(link=link, state=State.HOLDS, detail=ask())
        except _BrokenError as error:
            return Finding(link=link, state=State.BROKEN, detail=str(error))
        except _UncheckedError as error:
            return Finding(link=link, state=State.UNCHECKED, detail=str(error))
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # readers of changed content
            detail = f"expected what a run writes, found what cannot be read: {type(error).__name__}: {error}"
            return Finding(link=link, state=State.BROKEN, detail=detail)
        except Exception as error:
            fault = faults.explain(error)
            if fault is None:
                raise
            return Finding(link=link, state=State.UNCHECKED, detail=fault.text)

    def _signature(self) -> str:
        found, detail = signature_of(self.folder, self.registrar.keys)
        if found == "refused":
            raise _BrokenError(f"expected every file as a trusted key signed it, found: {detail}")
        if found == "unchecked":
            raise _UncheckedError(detail)
        return f"every file is as it was signed {detail}"

    def _read(self, file: str) -> bytes:
        try:
            return self.folder.read(file)
        except (RegistryError, IsADirectoryError):
            raise _BrokenError(f"expected {file} in the artifact store, found none") from None

    def _model(self) -> str:
        digest = hashlib.sha256(self._read(MODEL)).hexdigest()
        _same("SHA-256 in the registry", self.version.digest, digest)
        _same("SHA-256 in the record", self._provenance.model_sha256, digest)
        return f"SHA-256 {digest}, as in registry and record"

    def _record(self) -> str:
        self._read(PROVENANCE)
        try:
            provenance = self.folder.provenance()
        except ProvenanceError as error:
            raise _BrokenError(f"expected a record, found: {error}") from error
        for file, digest in provenance.files.items():
            _same(f"SHA-256 of {file}", digest, hashlib.sha256(self._read(file)).hexdigest())
        for run in provenance.runs:
            _same("SHA-256 of the parameters", run.parameters_sha256, digest_of_parameters(run.parameters))
        if gaps := provenance.gaps():
            raise _UncheckedError(f"the record does not tell {', '.join(gaps)}")
        return f"complete; {len(provenance.files)} files beside the model are as it says"

    def _registry(self) -> str:
        expected, tags = self._provenance.tags(), self.version.tags
        found = {key: value for key, value in tags.items() if key in expected or key.startswith(RAW_INPUT_TAG)}
        if differences := _differences(expected, found):
            raise _BrokenError(f"tags of the version: {'; '.join(differences)}")
        return f"{len(expected)} tags are as in the record"

    def _has_run(self) -> None:
        if not _RUN.fullmatch(self.version.run_id):
            raise _BrokenError(f"expected the run that made it, found {_shown(self.version.run_id)} in the registry")

    @cached_property
    def _facts(self) -> runs.RunFacts:
        self._has_run()
        try:
            return runs.of(self.version)
        except RegistryError as error:
            raise _BrokenError(f"expected the run that made it, found: {error}") from error

    def _run(self) -> str:
        facts = self._facts
        of_training, raw = run_tags(self._provenance.run), raw_input_tags(self._provenance.raw_inputs)
        if "git.commit" not in facts.tags:
            raise _UncheckedError(f"the run {self.version.run_id} has no tags of its origin")
        read = {key for key in facts.tags if key.startswith(RAW_INPUT_TAG)}  # a run that only trains reads none
        expected = of_training | {key: raw.get(key) for key in read}
        if differences := _differences(expected, {key: facts.tags.get(key) for key in expected}):
            told = f"tags of the run {self.version.run_id}: {'; '.join(differences)}"
            if TRAINED_WITH not in facts.parameters:
                raise _UncheckedError(f"it registered what an earlier run had trained, so they may differ: {told}")
            raise _BrokenError(told)
        return f"run {self.version.run_id} has the tags that the record has"

    def _parameters(self) -> str:
        logged = self._facts.parameters
        recorded = self._provenance.run.parameters
        differences: list[str] = []
        for name, text in sorted(logged.items()):
            if name not in recorded:
                continue
            expected = flat({name: recorded[name]})
            found = flat({name: _parsed(text)})
            differences += _differences(expected, {key: found.get(key) for key in expected})
        if differences:
            raise _BrokenError(f"parameters of the run: {'; '.join(differences)}")
        if TRAINED_WITH not in logged:
            raise _UncheckedError("the run has no parameters of a training")
        return f"{len(logged)} groups that the run used are as in the record"

    def _metrics(self) -> str:
        try:
            expected = {name: figure["value"] for name, figure in track_metrics(self.folder.evaluation()).items()}
        except RegistryError as error:
            raise _UncheckedError(f"there is no evaluation to compare with ({error})") from error
        found = {name: value for name, value in self._facts.metrics.items() if name.startswith(MEASURED)}
        if not found:
            raise _UncheckedError("the run that registered it did not measure it")
        if differences := _differences(expected, found):
            raise _BrokenError(f"metrics of the run: {'; '.join(differences)}")
        return f"{len(expected)} metrics of the run are as in its evaluation"

    def _stages(self) -> Iterator[tuple[str, RunRecord, str]]:
        """The run that trained; before it the one that made the data, if it was of other code or parameters."""
        try:
            provenance = self._provenance
        except _UncheckedError:
            return  # "record" says so
        data = provenance.data and provenance.data.run
        if data and _origin(data) != _origin(provenance.run):
            yield " (data)", data, DATA_CHANGES
        yield "", provenance.run, CHANGES

    def _commit(self, run: RunRecord, patch: str, tree: Path) -> str:
        commit = run.git.commit
        if not _COMMIT.fullmatch(commit):
            raise _BrokenError(f"expected the full name of a commit, found {commit}")
        if not git.holds(self.project, commit):
            if git.is_shallow(self.project):
                raise _UncheckedError(f"this clone is shallow and lacks {commit}: `git fetch --unshallow`")
            raise _BrokenError(f"expected commit {commit} in this repository, found none; fetch it, or ask who has it")
        changes = self.folder.changes(patch) if run.git.dirty else None
        tree.mkdir()
        try:
            git.materialise(self.project, commit, tree, changes)
        except ProvenanceError as error:
            raise _BrokenError(f"expected a commit with changes that fit it, found: {error}") from error
        if run.git.dirty and changes is None:
            raise _UncheckedError(
                f"made with uncommitted changes that were not kept (SHA-256 {run.git.diff_sha256}); what follows is "
                "compared with the commit alone"
            )
        beside = ", with the changes that were kept" if run.git.dirty else ""
        return f"{commit} is in this repository{beside}"

    def _lock(self, run: RunRecord, tree: Path) -> str:
        file = _in(tree, str(LOCK))
        _same(f"SHA-256 of {LOCK} at the commit", run.environment.lock_sha256, hashlib.sha256(file).hexdigest())
        return f"{LOCK} at the commit has the recorded SHA-256"

    def _configuration(self, run: RunRecord, tree: Path) -> str:
        _in(tree, str(LOCK))
        if not _ENVIRONMENT.fullmatch(run.kedro_environment):  # it becomes a path
            raise _BrokenError(f"expected the name of an environment, found {run.kedro_environment}")
        try:
            found = parameters_in(tree, run.kedro_environment, run.runtime_parameters)
        except Exception as error:
            raise _UncheckedError(f"the configuration at the commit cannot be read: {error}") from error
        if differences := _differences(flat(run.parameters), flat(found)):
            raise _BrokenError(
                f"parameters at the commit (found) and in the record (expected): {'; '.join(differences)}"
            )
        given = (
            f", {len(flat(run.runtime_parameters))} of them from the command line or conf/local"
            if run.runtime_parameters
            else ""
        )
        return f"{len(flat(run.parameters))} parameters are those of the commit{given}"

    def _data_versions(self, tree: Path) -> str:
        _in(tree, str(LOCK))
        locks = raw_copies.recorded(tree)
        for name, raw in self._provenance.raw_inputs.items():
            _same(f"MD5 of '{name}' at the commit", raw.md5, raw_copies.locked(raw.path, locks))
        return f"{len(self._provenance.raw_inputs)} raw tables are locked at the commit with the recorded MD5"

    def _raw_data(self) -> str:
        away: list[str] = []
        copies = raw_copies.check(
            self.project,
            self._provenance.raw_inputs,
            deep=self.deep,
            failed=lambda place, error: away.append(f"the {place} cannot be asked ({type(error).__name__})"),
        )
        problems = [
            f"'{name}' in the {copy.place}: {copy.problem}"
            for name, found in copies.items()
            for copy in found
            if copy.problem
        ]
        if problems:
            raise _BrokenError("; ".join(problems))
        holders = {name: {copy.place for copy in found} for name, found in copies.items()}
        places = sorted(set().union(*holders.values()))
        lacking = {place: [name for name, found in holders.items() if place not in found] for place in places}
        away += [f"the {place} lacks {', '.join(names)}" for place, names in lacking.items() if names]
        beside = f"; {'; '.join(away)}" if away else ""
        if missing := [name for name, found in copies.items() if not found]:
            raise _UncheckedError(f"neither DVC's cache nor its remote holds {', '.join(missing)}{beside}")
        how = "every byte read" if self.deep else "sizes compared; --deep reads every byte"
        return f"{len(copies)} raw tables are in {' and '.join(places)} ({how}){beside}"

    def _probe(self) -> str:
        try:
            probe, model = self.folder.probe(), self.folder.model()
            answers = model.predict(feature_columns(probe, model.roles))
        except RegistryError as error:
            raise _BrokenError(f"expected a probe set and a model, found: {error}") from error
        except Exception as error:  # whatever changed bytes make the readers raise
            raise _BrokenError(f"expected answers to the probe set, found: {type(error).__name__}: {error}") from error
        _same(
            "SHA-256 of the recomputed answers",
            self._provenance.probe_sha256,
            digest_of_probe(probe.assign(probability=answers)),
        )
        _same("SHA-256 of the stored answers", self._provenance.probe_sha256, digest_of_probe(probe))
        return f"{len(probe)} answers, computed again now, are the recorded ones"

    def _alias(self, alias: str) -> str:
        points_to = self.registrar.incumbent(alias)
        history = self.registrar.history
        if problems := history.problems(self.registrar.model, alias, points_to):
            raise _BrokenError(f"expected a history that is whole, found: {'; '.join(problems)}")
        moves = history.read(self.registrar.model, alias)
        for move in moves:
            if move.to == self.version.number:
                _same(f"model that {move} meant", move.to_digest, self.version.digest)
        where = "nothing" if points_to is None else f"version {points_to}"
        seams = "".join(f"; NOTE: {seam}" for seam in history.seams(self.registrar.model, alias))
        return f"points to {where}, as the last of {len(moves)} moves says{seams}"

    def _decisions(self) -> str:
        self._has_run()
        try:
            kept = records.of(self.version, records.DECISION)
            overtaken = {_field(record, "decision_sha256") for record in records.of(self.version, records.OVERTAKEN)}
        except RegistryError as error:
            raise _BrokenError(f"expected the run with its records, found: {error}") from error
        moves = [move for alias in ALIASES for move in self._moves(alias) if move.to == self.version.number]
        problems = [f"{record.path} cannot be read" for record in kept if record.content is None]
        by_digest = {record.sha256: record for record in kept}
        problems += [
            f"expected the decision behind {move} (SHA-256 {move.decision_sha256}), found none: changed or removed"
            for move in moves
            if move.decision_sha256 is not None and move.decision_sha256 not in by_digest
        ]
        problems += [
            f"{name} of {move}: expected {_shown(expected)}, as decided, found {_shown(found)}"
            for move in moves
            if move.decision_sha256 in by_digest
            for name, expected, found in _told_differently(by_digest[move.decision_sha256], move)
        ]
        in_history = {move.decision_sha256 for move in moves}
        superseded = _superseded(kept, in_history)
        problems += [
            f"expected a move in the history of @{_field(record, 'alias')} for {record.path}, found none: the history "
            "was rolled back, or the move broken off"
            for record in kept
            if _moves(record) and record.sha256 not in in_history | overtaken | superseded
        ]
        if problems:
            raise _BrokenError("; ".join(problems))
        forced = [f"FORCED: {move}: {move.reason}" for move in moves if move.forced]
        forgiven = [
            f"forgiven at {_field(record, 'at')}: {', '.join(_field(record, 'forgiven'))}"
            for record in kept
            if _field(record, "forgiven")
        ]
        return "; ".join([f"{len(kept)} are kept, {len(moves)} moves to this version", *forced, *forgiven])

    def _moves(self, alias: str) -> list[alias_history.Move]:
        try:
            return self.registrar.history.read(self.registrar.model, alias)
        except LifecycleError as error:
            raise _UncheckedError(str(error)) from error


def _origin(run: RunRecord) -> tuple[Any, ...]:
    """What must be equal for two runs to be of the same making."""
    return run.git.commit, run.git.diff_sha256, run.environment.lock_sha256, run.parameters_sha256


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _in(tree: Path, file: str) -> bytes:
    try:
        return (tree / file).read_bytes()
    except FileNotFoundError:
        raise _UncheckedError("the commit is not here") from None


def _superseded(kept: list[records.Record], in_history: set[str | None]) -> set[str]:
    """The decisions whose move was broken off, and that a later decision for the same alias has carried out."""
    carried: dict[Any, int] = {}
    for position, record in enumerate(kept):
        if record.sha256 in in_history:
            carried[_field(record, "alias")] = position
    return {
        record.sha256 for position, record in enumerate(kept) if position < carried.get(_field(record, "alias"), -1)
    }


def _told_differently(record: records.Record, move: alias_history.Move) -> Iterator[tuple[str, Any, Any]]:
    for name, of_move in TOLD_TWICE.items():
        decided, moved = _field(record, name), getattr(move, of_move)
        if decided != moved:
            yield of_move, decided, moved


def _field(record: records.Record, name: str) -> Any:
    return (record.content or {}).get(name)


def _moves(record: records.Record) -> bool:
    return bool(_field(record, "answer") == Answer.YES or _field(record, "forced") or _field(record, "forgiven"))


def audit(project: Path, registrar: Registrar, version: Version, *, deep: bool = False) -> list[Finding]:
    """Audit a version: one finding for each link; only one if the artifact store holds nothing of it."""
    try:
        with versions.folder(version) as folder:
            return Audit(project, registrar, version, folder, deep).findings()
    except (RegistryError, ValueError) as error:  # an address that is none is a ValueError
        detail = f"expected its folder in the artifact store, found: {error}"
        return [Finding(link="model", state=State.BROKEN, detail=detail)]
