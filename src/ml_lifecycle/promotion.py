"""Who gets an alias: the gate is asked, its answer kept with the version, and the alias moved with its history."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from ml_lifecycle import alias_history, gate, judge_rows, whoami
from ml_lifecycle.alias_history import AliasHistory, Draft, Move, MovedError
from ml_lifecycle.errors import DataContractError, LifecycleError
from ml_lifecycle.gate import Answer, Evidence, RuleAnswer
from ml_lifecycle.model_folder import ModelFolder
from ml_lifecycle.nested import flat
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.parameters import ExportOptions, FirstPolicy, GateOptions
from ml_lifecycle.pipelines.training.nodes import PREVALENCE, feature_columns
from ml_lifecycle.provenance.record import Provenance
from ml_lifecycle.registry import records, versions
from ml_lifecycle.registry.versions import Version
from ml_lifecycle.signing.keys import Keys
from ml_lifecycle.signing.signature import MissingKeyError, SignatureError

Result = TypeVar("Result")
Alias = Literal["staging", "production"]
STAGING: Alias = "staging"
PRODUCTION: Alias = "production"
ALIASES: tuple[Alias, ...] = (STAGING, PRODUCTION)
#: The rules that ask for commits, which the first version may be forgiven.
UNCOMMITTED = {"clean_tree", "bounds"}
#: Without a signature a version cannot be loaded, so nobody is helped by an alias.
NEVER_FORCED = {"signature"}
#: Of a version's tag in MLflow (``MAX_TAG_VAL_LENGTH``).
TAG_LENGTH = 5000


class PromotionError(LifecycleError):
    """A promotion that is not possible at all."""


class Decision(BaseModel):
    """What the gate said about a version, and who asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    alias: str
    answer: Answer
    rules: list[RuleAnswer]
    action: Literal["first", "promote"]
    forced: bool
    forgiven: list[str]
    reason: str
    incumbent: str | None
    incumbent_digest: str | None
    options: dict[str, Any]
    sha256: str = ""

    @property
    def moves(self) -> bool:
        """Whether the alias is moved because of it."""
        return self.answer is Answer.YES or self.forced or bool(self.forgiven)

    def against(self) -> list[RuleAnswer]:
        """The rules that did not say yes."""
        return [rule for rule in self.rules if rule.answer is not Answer.YES]

    def __str__(self) -> str:
        """In one line."""
        why = "; ".join(f"{rule.rule}: {rule.explanation}" for rule in self.against())
        beside = f" (forced: {self.reason})" if self.forced else ""
        beside += f" (forgiven, as the first version: {', '.join(self.forgiven)})" if self.forgiven else ""
        return f"{self.answer.value}{beside}{': ' if why else ''}{why}"


@dataclass(frozen=True)
class Application:
    """What somebody asks of the gate, and why; ``first``: it is the first version, and what may be forgiven it."""

    reason: str = ""
    force: bool = False
    first: FirstPolicy | None = None


@dataclass(frozen=True)
class Registrar:
    """Moves the aliases of a model: who keeps its history, and whose signatures are trusted."""

    model: str
    history: AliasHistory
    keys: Keys

    def incumbent(self, alias: str) -> str | None:
        """Number of the version that an alias points to."""
        return versions.aliases(self.model).get(alias)

    def move(self, version: Version, decision: Decision) -> Move:
        """Let an alias point to a version, as the gate decided.

        Raises:
            MovedError: somebody else moved it since the gate compared.
        """
        draft = self._draft(version, decision.alias, decision.action, decision.reason)
        draft = draft.model_copy(update={"forced": decision.forced, "decision_sha256": decision.sha256})
        try:
            return self._move(draft, decision.incumbent)
        except MovedError:
            content = {"alias": decision.alias, "decision_sha256": decision.sha256}
            records.store(version, records.OVERTAKEN, content, (f"decision.{decision.alias}", "overtaken"))
            raise

    def roll_back(self, alias: str, reason: str) -> Move:
        """Let an alias point to the version it pointed to before.

        Raises:
            PromotionError: there is none before.
            MovedError: somebody else moved it meanwhile.
        """
        expected = self.incumbent(alias)  # before the history is read: who moves it meanwhile is noticed
        back = alias_history.previous(self.history.read(self.model, alias))
        if back is None:
            raise PromotionError(
                f"There is nothing to roll @{alias} of '{self.model}' back to: its history names no version before "
                f"version {expected}. Promote another one: `kedro model promote`."
            )
        version = versions.find(self.model, back)
        return self._move(self._draft(version, alias, "rollback", reason), expected)

    def _draft(
        self, version: Version, alias: str, action: Literal["first", "promote", "rollback"], reason: str
    ) -> Draft:
        return Draft(
            model=self.model,
            alias=alias,
            to=version.number,
            to_digest=version.digest,
            action=action,
            forced=False,
            by=whoami.user(),
            where=whoami.machine(),
            at=whoami.now(),
            reason=reason,
            decision_sha256=None,
        )

    def _move(self, draft: Draft, expected: str | None) -> Move:
        return self.history.move(
            draft,
            expected=expected,
            get=lambda: self.incumbent(draft.alias),
            put=lambda number: versions.set_alias(self.model, draft.alias, number),
        )


def signature_of(folder: ModelFolder, keys: Keys) -> tuple[Literal["verified", "refused", "unchecked"], str]:
    """Check a signature; say what came of it, and with which key or why."""
    try:
        return "verified", f"by {folder.verify(keys).name}"
    except MissingKeyError as error:
        return ("unchecked", str(error)) if folder.is_signed else ("refused", "it is not signed")
    except SignatureError as error:
        return "refused", str(error)


def _tried(attempt: Callable[[], Result]) -> Result | None:
    """Read or measure something in a local folder; None if its files do not allow it."""
    try:
        return attempt()
    except Exception:  # noqa: BLE001 - whatever changed bytes make the readers raise
        return None


def time_of_one(model: OnnxModel, probe: pd.DataFrame) -> float:
    """Median time of single predictions over the probe set, in milliseconds."""
    columns = feature_columns(probe, model.roles)
    seconds = []
    for row in range(len(probe)):
        one = {name: values[row : row + 1] for name, values in columns.items()}
        start = time.perf_counter()
        model.predict(one)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)) * 1000


def _evaluation(stored: ModelFolder, version: Version) -> dict[str, Any]:
    found = stored.evaluation()
    if found.get("model_sha256") != version.digest:
        raise ValueError("the evaluation is of another model")
    return found


def _rows(
    version: Version, challenger: ModelFolder, registrar: Registrar, number: str, table: Callable[[str], pd.DataFrame]
) -> tuple[pd.DataFrame | None, str]:
    """Score the judge rows with both models now; or say why that is impossible."""
    try:
        incumbent = versions.find(version.name, number)
        with versions.folder(incumbent) as stored:
            models = {
                "challenger": versions.verified(version, challenger, registrar.keys),
                "incumbent": versions.verified(incumbent, stored, registrar.keys),
            }
            judge = judge_rows.select(table("model_input"), challenger.provenance(), stored.provenance())
            return judge_rows.score(judge, table("requests"), models), ""
    except LifecycleError as error:
        return None, str(error)


@dataclass(frozen=True)
class Circumstances:
    """Under what a version is judged.

    Attributes:
        tolerance: of the export.
        question: parameters that say what is predicted.
        uncommitted: parameters of the gate that the commit gives otherwise; None if that is not known.
        table: loads ``model_input`` and ``requests``.
    """

    tolerance: float
    question: list[str]
    uncommitted: list[str] | None
    table: Callable[[str], pd.DataFrame]


def _asked(origin: Provenance, question: list[str]) -> dict[str, Any]:
    """What a version predicts: the parameters that its data were made with, as far as they say so."""
    run = origin.run if origin.data is None else origin.data.run
    inside = tuple(f"{path}." for path in question)
    return {path: value for path, value in flat(run.parameters).items() if path in question or path.startswith(inside)}


def _other_question(origin: Provenance | None, name: str, incumbent: str, question: list[str]) -> list[str] | None:
    """Name the parameters in which two versions predict different things."""
    with versions.folder(versions.find(name, incumbent)) as stored:
        other = _tried(stored.provenance)
    if origin is None or other is None:
        return None
    mine, theirs = _asked(origin, question), _asked(other, question)
    return [
        f"{path} ({mine.get(path)} against {theirs.get(path)})"
        for path in sorted({*mine, *theirs})
        if mine.get(path) != theirs.get(path)
    ]


def gather(version: Version, alias: str, registrar: Registrar, under: Circumstances) -> Evidence:
    """Gather what the gate asks about; what cannot be known is None.

    Args:
        version: the challenger.
        alias: the one it would get.
        registrar: of its model.
        under: what it is judged under.
    """
    number = registrar.incumbent(alias)
    with versions.folder(version) as stored:
        origin = _tried(stored.provenance)
        rows, problem, other_question = None, "", None
        if number is not None:
            rows, problem = _rows(version, stored, registrar, number, under.table)
            other_question = _tried(lambda: _other_question(origin, version.name, number, under.question))
        model = _tried(lambda: versions.verified(version, stored, registrar.keys))
        found, detail = signature_of(stored, registrar.keys)
        return Evidence(
            alias=alias,
            provenance_gaps=None if origin is None else origin.gaps(),
            dirty=None if origin is None else origin.is_dirty,
            signature=found,
            signature_detail=detail,
            uncommitted=under.uncommitted,
            baselines=None if model is None else [PREVALENCE, *model.roles.baselines],
            other_question=other_question,
            evaluation=_tried(lambda: _evaluation(stored, version)),
            tolerance=under.tolerance,
            latency_ms=None if model is None else _tried(lambda: time_of_one(model, stored.probe())),
            incumbent=number,
            rows=rows,
            rows_problem=problem,
        )


def decide(
    version: Version,
    evidence: Evidence,
    options: GateOptions,
    seed: int,
    asked: Application,
) -> Decision:
    """Ask the gate, and keep its answer with the version, whatever it is."""
    rules = gate.judge(evidence, options, seed)
    against = {rule.rule for rule in rules if rule.answer is not Answer.YES}
    forgiven = against if asked.first == "any_tree" and against <= UNCOMMITTED else set()
    incumbent = None if evidence.incumbent is None else versions.find(version.name, evidence.incumbent)
    decision = Decision(
        version=version.number,
        alias=evidence.alias,
        answer=gate.overall(rules),
        rules=rules,
        action="promote" if asked.first is None else "first",
        forced=asked.force and bool(against) and not against & NEVER_FORCED,
        forgiven=sorted(forgiven),
        reason=asked.reason,
        incumbent=evidence.incumbent,
        incumbent_digest=incumbent and incumbent.digest,
        options=options.model_dump(mode="json"),
    )
    content = decision.model_dump(mode="json", exclude={"sha256", "version"})
    tag = (f"decision.{evidence.alias}", str(decision)[:TAG_LENGTH])
    kept = records.store(version, records.DECISION, content, tag)
    return decision.model_copy(update={"sha256": kept.sha256})


def _no_table(name: str) -> pd.DataFrame:
    raise DataContractError(f"{name} is not read for a first version")


def promote_first(registrar: Registrar, number: str, policy: FirstPolicy, parameters: dict[str, Any]) -> str:
    """Give the first version both aliases if the gate lets it; say what was decided.

    With a version in production nothing is promoted: a person compares and decides.

    Args:
        registrar: of the model.
        number: of the version, which was just registered.
        policy: whether a dirty tree is forgiven it.
        parameters: of the run, with ``gate``, ``export`` and ``seed``.
    """
    version = versions.find(registrar.model, number)
    incumbent = registrar.incumbent(PRODUCTION)
    if policy == "never" or versions.DECISION in version.tags or incumbent == number:
        return version.decision  # the run goes on after a fault: it was decided before, or by hand
    if incumbent is not None:
        decided = (
            f"not promoted: version {incumbent} is in production; compare them: `kedro model promote {number} "
            "--to production`"
        )
    else:
        decided = _first(registrar, version, policy, parameters)
    versions.set_tag(version, versions.DECISION, decided[:TAG_LENGTH])
    return decided


def _given_by_no_file(version: Version) -> list[str] | None:
    """Name the parameters of the gate that the run got from no committed file; a dirty tree is a rule of its own."""
    with versions.folder(version) as stored:
        origin = _tried(stored.provenance)
    return None if origin is None else sorted(flat({"gate": origin.run.runtime_parameters.get("gate", {})}))


def _first(registrar: Registrar, version: Version, policy: FirstPolicy, parameters: dict[str, Any]) -> str:
    options = GateOptions.model_validate(parameters["gate"])
    tolerance = ExportOptions.model_validate(parameters["export"]).tolerance
    under = Circumstances(tolerance, options.question, _given_by_no_file(version), _no_table)
    given: list[str] = []
    for alias in ALIASES:
        if registrar.incumbent(alias) is not None:
            continue
        evidence = gather(version, alias, registrar, under)
        asked = Application("the first version", first=policy)
        decision = decide(version, evidence, options, parameters["seed"], asked)
        if not decision.moves:
            so_far = f"promoted to {' and '.join(given)}, " if given else ""
            return f"{so_far}not promoted to {alias}: {decision}"
        registrar.move(version, decision)
        given.append(alias)
    return f"promoted to {' and '.join(given)}: the first version, and the gate says {decision}"
