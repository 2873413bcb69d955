"""The links of what MLflow keeps: tags of the version; tags, parameters and metrics of its run."""

import json
from typing import Any

from ml_lifecycle.audit.finding import BrokenError, UncheckedError, all_same, differences
from ml_lifecycle.audit.subject import Subject
from ml_lifecycle.errors import RegistryError
from ml_lifecycle.nested import flat
from ml_lifecycle.pipelines.training.evaluation import track_metrics
from ml_lifecycle.provenance.record import raw_input_tags, run_tags

#: Parameters that every run that trains logs.
TRAINED_WITH = "model"
#: Begins the metrics that a run takes from its evaluation (``track_metrics``).
MEASURED = "judge."
#: Begins the tags with the hashes of raw inputs (``raw_input_tags``).
RAW_INPUT_TAG = "dvc."


def registry(subject: Subject) -> str:
    """The tags of the version are those of the record."""
    expected, tags = subject.provenance.tags(), subject.version.tags
    found = {key: value for key, value in tags.items() if key in expected or key.startswith(RAW_INPUT_TAG)}
    all_same("tags of the version", expected, found)
    return f"{len(expected)} tags are as in the record"


def run(subject: Subject) -> str:
    """The tags of the run are those of the record."""
    facts, number = subject.facts, subject.version.run_id
    of_training, raw = run_tags(subject.provenance.run), raw_input_tags(subject.provenance.raw_inputs)
    if "git.commit" not in facts.tags:
        raise UncheckedError(f"the run {number} has no tags of its origin")
    read = {key for key in facts.tags if key.startswith(RAW_INPUT_TAG)}  # a run that only trains reads none
    expected = of_training | {key: raw.get(key) for key in read}
    if told := differences(expected, {key: facts.tags.get(key) for key in expected}):
        detail = f"tags of the run {number}: {'; '.join(told)}"
        if TRAINED_WITH not in facts.parameters:
            raise UncheckedError(f"it registered what an earlier run had trained, so they may differ: {detail}")
        raise BrokenError(detail)
    return f"run {number} has the tags that the record has"


def parameters(subject: Subject) -> str:
    """The parameters that the run logged are those of the record."""
    logged, recorded = subject.facts.parameters, subject.provenance.run.parameters
    told: list[str] = []
    for name in sorted(logged.keys() & recorded.keys()):
        expected, found = flat({name: recorded[name]}), flat({name: _parsed(logged[name])})
        told += differences(expected, {key: found.get(key) for key in expected})
    if told:
        raise BrokenError(f"parameters of the run: {'; '.join(told)}")
    if TRAINED_WITH not in logged:
        raise UncheckedError("the run has no parameters of a training")
    return f"{len(logged)} groups that the run used are as in the record"


def metrics(subject: Subject) -> str:
    """The metrics of the run are those of the evaluation in the folder."""
    try:
        expected = {name: figure["value"] for name, figure in track_metrics(subject.folder.evaluation()).items()}
    except RegistryError as error:
        raise UncheckedError(f"there is no evaluation to compare with ({error})") from error
    found = {name: value for name, value in subject.facts.metrics.items() if name.startswith(MEASURED)}
    if not found:
        raise UncheckedError("the run that registered it did not measure it")
    all_same("metrics of the run", expected, found)
    return f"{len(expected)} metrics of the run are as in its evaluation"


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
