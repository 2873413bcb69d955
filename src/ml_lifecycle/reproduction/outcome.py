"""What came of a reproduction: row by row what was recorded and what came out, and the verdict."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pandas as pd

from ml_lifecycle.gate import Answer
from ml_lifecycle.model_folder import ModelFolder
from ml_lifecycle.nested import flat
from ml_lifecycle.provenance.record import (
    DATA_REPORT,
    EVALUATION,
    Provenance,
    RawInput,
    TrainingRecord,
    digest_of_probe,
)
from ml_lifecycle.reproduction.place import Place

#: What is compared of the metrics.
_QUALITY = ("rows", "positives", "judge_sha256", "threshold", "model", "baselines")


@dataclass(frozen=True)
class Row:
    """One thing that was compared."""

    what: str
    recorded: str
    reproduced: str

    @property
    def equal(self) -> bool:
        """Whether it is the same."""
        return self.recorded == self.reproduced


@dataclass(frozen=True)
class Verdict:
    """What came of it."""

    answer: Answer
    rows: list[Row]
    explanation: str
    python: str

    @property
    def differences(self) -> list[str]:
        """What differs, by name."""
        return [row.what for row in self.rows if not row.equal]


def verdict(rows: list[Row], python: str) -> Verdict:
    """Equal only if everything is."""
    different = [row.what for row in rows if not row.equal]
    if different:
        return Verdict(Answer.NO, rows, f"not equal: {', '.join(different)}", python)
    return Verdict(Answer.YES, rows, "equal: model bytes, probe answers, judge slice and row counts", python)


def compare(place: Place, folder: ModelFolder) -> list[Row]:
    """Compare what went into a run, and what came out of it, with what is kept of the version."""
    record = folder.provenance()
    made = TrainingRecord.model_validate_json(place.read("training_record"))
    evaluation, report = (json.loads(place.read(name)) for name in ("evaluation", "data_report"))
    probe = pd.read_parquet(BytesIO(place.read("probe_set")))
    recorded, counted = (json.loads(folder.read(name)) for name in (EVALUATION, DATA_REPORT))
    return [
        *_ingredients(record, made),
        *_raw_inputs(record.raw_inputs, report["raw_inputs"]),
        Row("model bytes", record.model_sha256, hashlib.sha256(place.read("onnx_model")).hexdigest()),
        Row("probe answers", record.probe_sha256, digest_of_probe(probe)),
        *_differing("judge slice", _quality(recorded), _quality(evaluation)),
        *_differing("row counts", _counts(counted), _counts(report)),
    ]


def _ingredients(record: Provenance, made: TrainingRecord) -> Iterator[Row]:
    """Compare the origin of the version with that of its reproduction."""
    stages = {"": (record.run, made.run)}
    if record.data is not None:
        stages = {"data: ": (record.data.run, made.data.run), **stages}
    for name, (recorded, found) in stages.items():
        yield Row(f"{name}commit", recorded.git.commit, found.git.commit)
        yield Row(f"{name}changes to it", recorded.git.diff_sha256, found.git.diff_sha256)
        yield Row(f"{name}lock", recorded.environment.lock_sha256, found.environment.lock_sha256)
        yield from _differing(f"{name}package", recorded.environment.deviations, found.environment.deviations)
        yield from _differing(f"{name}parameters", flat(recorded.parameters), flat(found.parameters))


def _raw_inputs(recorded: Mapping[str, RawInput], found: Mapping[str, Any]) -> list[Row]:
    return [Row(f"raw data {name}", raw.md5, str(found.get(name, {}).get("md5"))) for name, raw in recorded.items()]


def _differing(what: str, recorded: Mapping[str, Any], found: Mapping[str, Any]) -> list[Row]:
    """One row for each difference; one for all if there is none."""
    names = sorted({*recorded, *found})
    rows = [Row(f"{what} {name}", str(recorded.get(name)), str(found.get(name))) for name in names]
    different = [row for row in rows if not row.equal]
    count = f"{len(names)} values" if names else "as locked"
    return different or [Row(what, count, count)]


def _quality(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    return flat({name: evaluation.get(name) for name in _QUALITY})


def _counts(report: Mapping[str, Any]) -> dict[str, Any]:
    return flat({"rows": report["rows"], "slices": report["slices"]})
