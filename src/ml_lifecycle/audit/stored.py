"""The links of what the artifact store keeps: signature, model, record and probe set."""

import hashlib

from ml_lifecycle.audit.finding import BrokenError, UncheckedError, same
from ml_lifecycle.audit.subject import Subject
from ml_lifecycle.errors import ProvenanceError, RegistryError
from ml_lifecycle.model_folder import MODEL, PROVENANCE
from ml_lifecycle.pipelines.training.nodes import feature_columns
from ml_lifecycle.provenance.record import digest_of_parameters, digest_of_probe


def signature(subject: Subject) -> str:
    """Every file is as a trusted key signed it."""
    found, detail = subject.signature
    if found == "refused":
        raise BrokenError(f"expected every file as a trusted key signed it, found: {detail}")
    if found == "unchecked":
        raise UncheckedError(detail)
    return f"every file is as it was signed {detail}"


def model(subject: Subject) -> str:
    """The bytes of the model are those that registry and record name."""
    digest = hashlib.sha256(subject.read(MODEL)).hexdigest()
    same("SHA-256 in the registry", subject.version.digest, digest)
    same("SHA-256 in the record", subject.provenance.model_sha256, digest)
    return f"SHA-256 {digest}, as in registry and record"


def record(subject: Subject) -> str:
    """The record is complete, and fits its files and itself."""
    subject.read(PROVENANCE)
    try:
        provenance = subject.folder.provenance()
    except ProvenanceError as error:
        raise BrokenError(f"expected a record, found: {error}") from error
    for file, digest in provenance.files.items():
        same(f"SHA-256 of {file}", digest, hashlib.sha256(subject.read(file)).hexdigest())
    for run in provenance.runs:
        same("SHA-256 of the parameters", run.parameters_sha256, digest_of_parameters(run.parameters))
    if gaps := provenance.gaps():
        raise UncheckedError(f"the record does not tell {', '.join(gaps)}")
    return f"complete; {len(provenance.files)} files beside the model are as it says"


def probe(subject: Subject) -> str:
    """The answers to the probe set are the recorded ones: those that are stored, and those computed again.

    A model is computed with only if a trusted key signed it: its bytes are a program for ONNX Runtime.
    """
    expected = subject.provenance.probe_sha256
    try:
        rows = subject.folder.probe()
    except RegistryError as error:
        raise BrokenError(f"expected a probe set, found: {error}") from error
    except Exception as error:  # whatever changed bytes make the readers raise
        raise BrokenError(f"expected a probe set, found: {type(error).__name__}: {error}") from error
    same("SHA-256 of the stored answers", expected, digest_of_probe(rows))
    if subject.signature[0] != "verified":
        raise UncheckedError(
            "no trusted key is known to have signed the model, so it is not run; the answers that are stored are the "
            "recorded ones"
        )
    try:
        stored = subject.folder.model()
        answers = stored.predict(feature_columns(rows, stored.roles))
    except RegistryError as error:
        raise BrokenError(f"expected a model, found: {error}") from error
    except Exception as error:  # whatever changed bytes make the readers raise
        raise BrokenError(f"expected answers to the probe set, found: {type(error).__name__}: {error}") from error
    same("SHA-256 of the recomputed answers", expected, digest_of_probe(rows.assign(probability=answers)))
    return f"{len(rows)} answers, computed again now, are the recorded ones"
