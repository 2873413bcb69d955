"""The links of what was decided: the history of each alias, and the decisions behind its moves."""

from collections.abc import Iterator
from typing import Any

from ml_lifecycle.alias_history import Move
from ml_lifecycle.audit.finding import BrokenError, UncheckedError, same, shown
from ml_lifecycle.audit.subject import Subject
from ml_lifecycle.errors import LifecycleError, RegistryError
from ml_lifecycle.gate import Answer
from ml_lifecycle.promotion import ALIASES
from ml_lifecycle.registry import records
from ml_lifecycle.registry.records import Record

#: What a decision and the move because of it both tell: the decision's name of it, and the move's.
TOLD_TWICE = {
    **{name: name for name in ("alias", "action", "forced", "reason", "by", "where")},
    "digest": "to_digest",
    "incumbent": "found",
}


def alias(subject: Subject, name: str) -> str:
    """The alias points to where its history, which is whole, says; and the version is the model that was meant."""
    registrar, version = subject.registrar, subject.version
    points_to = registrar.incumbent(name)
    if problems := registrar.history.problems(registrar.model, name, points_to):
        raise BrokenError(f"expected a history that is whole, found: {'; '.join(problems)}")
    moves = registrar.history.read(registrar.model, name)
    for move in moves:
        if move.to == version.number:
            same(f"model that {move} meant", move.to_digest, version.digest)
    where = "nothing" if points_to is None else f"version {points_to}"
    seams = "".join(f"; NOTE: {seam}" for seam in registrar.history.seams(registrar.model, name))
    return f"points to {where}, as the last of {len(moves)} moves says{seams}"


def decisions(subject: Subject) -> str:
    """Each move to the version has the decision behind it, and each decision to move has its move."""
    subject.refuse_no_run()
    try:
        kept = records.of(subject.version, records.DECISION)
        overtaken = {_field(record, "decision_sha256") for record in records.of(subject.version, records.OVERTAKEN)}
    except RegistryError as error:
        raise BrokenError(f"expected the run with its records, found: {error}") from error
    moves = [move for name in ALIASES for move in _moves(subject, name) if move.to == subject.version.number]
    unreadable = [f"{record.path} cannot be read" for record in kept if record.content is None]
    if problems := [*unreadable, *_moves_undecided(kept, moves), *_decisions_unmoved(kept, moves, overtaken)]:
        raise BrokenError("; ".join(problems))
    forced = [f"FORCED: {move}: {move.reason}" for move in moves if move.forced]
    forgiven = [
        f"forgiven at {_field(record, 'at')}: {', '.join(_field(record, 'forgiven'))}"
        for record in kept
        if _field(record, "forgiven")
    ]
    return "; ".join([f"{len(kept)} are kept, {len(moves)} moves to this version", *forced, *forgiven])


def _moves(subject: Subject, name: str) -> list[Move]:
    try:
        return subject.registrar.history.read(subject.registrar.model, name)
    except LifecycleError as error:
        raise UncheckedError(str(error)) from error


def _moves_undecided(kept: list[Record], moves: list[Move]) -> Iterator[str]:
    """Name moves whose decision is not kept, or tells something else."""
    by_digest = {record.sha256: record for record in kept}
    for move in moves:
        if move.decision_sha256 is None:
            continue
        decision = by_digest.get(move.decision_sha256)
        if decision is None:
            digest = move.decision_sha256
            yield f"expected the decision behind {move} (SHA-256 {digest}), found none: changed or removed"
            continue
        for name, of_move in TOLD_TWICE.items():
            decided, moved = _field(decision, name), getattr(move, of_move)
            if decided != moved:
                yield f"{of_move} of {move}: expected {shown(decided)}, as decided, found {shown(moved)}"


def _decisions_unmoved(kept: list[Record], moves: list[Move], overtaken: set[Any]) -> Iterator[str]:
    """Name decisions to move that no move followed."""
    in_history = {move.decision_sha256 for move in moves}
    explained = in_history | overtaken | _superseded(kept, in_history)
    for record in kept:
        if _decides_to_move(record) and record.sha256 not in explained:
            yield (
                f"expected a move in the history of @{_field(record, 'alias')} for {record.path}, found none: the "
                "history was rolled back, or the move broken off"
            )


def _superseded(kept: list[Record], in_history: set[str | None]) -> set[str]:
    """The decisions whose move was broken off, and that a later decision for the same alias has carried out."""
    carried: dict[Any, int] = {}
    for position, record in enumerate(kept):
        if record.sha256 in in_history:
            carried[_field(record, "alias")] = position
    return {
        record.sha256 for position, record in enumerate(kept) if position < carried.get(_field(record, "alias"), -1)
    }


def _decides_to_move(record: Record) -> bool:
    return bool(_field(record, "answer") == Answer.YES or _field(record, "forced") or _field(record, "forgiven"))


def _field(record: Record, name: str) -> Any:
    return (record.content or {}).get(name)
