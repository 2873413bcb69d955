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
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.parameters import ExportOptions, FirstPolicy, GateOptions
from ml_lifecycle.pipelines.training.nodes import feature_columns
from ml_lifecycle.registry import records, versions
from ml_lifecycle.registry.versions import Version
from ml_lifecycle.signing import Keys, MissingKeyError, SignatureError

Result = TypeVar("Result")
Alias = Literal["staging", "production"]
STAGING: Alias = "staging"
PRODUCTION: Alias = "production"
ALIASES: tuple[Alias, ...] = (STAGING, PRODUCTION)
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


def gather(
    version: Version, alias: str, registrar: Registrar, tolerance: float, table: Callable[[str], pd.DataFrame]
) -> Evidence:
    """Gather what the gate asks about; what cannot be known is None.

    Args:
        version: the challenger.
        alias: the one it would get.
        registrar: of its model.
        tolerance: of the export.
        table: loads ``model_input`` and ``requests``.
    """
    number = registrar.incumbent(alias)
    with versions.folder(version) as stored:
        origin = _tried(stored.provenance)
        rows, problem = None, ""
        if number is not None:
            rows, problem = _rows(version, stored, registrar, number, table)
        found, detail = signature_of(stored, registrar.keys)
        return Evidence(
            alias=alias,
            provenance_gaps=None if origin is None else origin.gaps(),
            dirty=None if origin is None else origin.is_dirty,
            signature=found,
            signature_detail=detail,
            evaluation=_tried(lambda: _evaluation(stored, version)),
            tolerance=tolerance,
            latency_ms=_tried(lambda: time_of_one(versions.verified(version, stored, registrar.keys), stored.probe())),
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
    forgiven = against if asked.first == "any_tree" and against == {"clean_tree"} else set()
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


def _first(registrar: Registrar, version: Version, policy: FirstPolicy, parameters: dict[str, Any]) -> str:
    options = GateOptions.model_validate(parameters["gate"])
    tolerance = ExportOptions.model_validate(parameters["export"]).tolerance
    given: list[str] = []
    for alias in ALIASES:
        if registrar.incumbent(alias) is not None:
            continue
        evidence = gather(version, alias, registrar, tolerance, _no_table)
        asked = Application("the first version", first=policy)
        decision = decide(version, evidence, options, parameters["seed"], asked)
        if not decision.moves:
            so_far = f"promoted to {' and '.join(given)}, " if given else ""
            return f"{so_far}not promoted to {alias}: {decision}"
        registrar.move(version, decision)
        given.append(alias)
    return f"promoted to {' and '.join(given)}: the first version, and the gate says {decision}"
