"""The link between the recorded hashes of the raw data and the bytes that DVC keeps."""

from ml_lifecycle.audit.finding import BrokenError, UncheckedError
from ml_lifecycle.audit.subject import Subject
from ml_lifecycle.provenance import raw_copies


def raw_data(subject: Subject) -> str:
    """DVC's cache or remote holds each raw table, and neither holds other bytes; sizes, or every byte if deep."""
    silent: list[str] = []
    copies = raw_copies.check(
        subject.project,
        subject.provenance.raw_inputs,
        deep=subject.deep,
        failed=lambda place, error: silent.append(f"the {place} cannot be asked ({type(error).__name__})"),
    )
    if problems := [
        f"'{name}' in the {copy.place}: {copy.problem}"
        for name, found in copies.items()
        for copy in found
        if copy.problem
    ]:
        raise BrokenError("; ".join(problems))
    holders = {name: {copy.place for copy in found} for name, found in copies.items()}
    places = sorted(set().union(*holders.values()))
    beside = "".join(f"; {gap}" for gap in [*silent, *_lacking(holders, places)])
    if missing := [name for name, found in holders.items() if not found]:
        raise UncheckedError(f"neither DVC's cache nor its remote holds {', '.join(missing)}{beside}")
    how = "every byte read" if subject.deep else "sizes compared; --deep reads every byte"
    return f"{len(copies)} raw tables are in {' and '.join(places)} ({how}){beside}"


def _lacking(holders: dict[str, set[str]], places: list[str]) -> list[str]:
    """Say which place lacks what another one holds."""
    lacking = {place: [name for name, found in holders.items() if place not in found] for place in places}
    return [f"the {place} lacks {', '.join(names)}" for place, names in lacking.items() if names]
