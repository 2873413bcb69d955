"""The folder of a registered model: the ONNX file, what is told about it, and one signature over all of it."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_lifecycle.errors import RegistryError
from ml_lifecycle.model_version import Candidate
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.provenance import statement
from ml_lifecycle.provenance.record import CHANGES, DATA_CHANGES, DATA_REPORT, EVALUATION, PROBE_SET, Provenance
from ml_lifecycle.signing import signature
from ml_lifecycle.signing.keys import Keys

if TYPE_CHECKING:
    import pandas as pd

MODEL, PROVENANCE, CARD = "model.onnx", "provenance.json", "model_card.md"
#: What MLflow writes beside the model.
OF_MLFLOW = {
    *("MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"),
    *("input_example.json", "serving_input_example.json"),
}


@dataclass(frozen=True)
class ModelFolder:
    """A local copy of what the artifact store keeps of one version.

    ``earlier_record`` is that of a version made before records lay in its folder.
    """

    path: Path
    earlier_record: bytes | None = None

    def describe(self, candidate: Candidate, name: str) -> None:
        """Write what is told about a model beside its ONNX file."""
        origin = candidate.provenance
        for file, content in ((EVALUATION, candidate.evaluation), (DATA_REPORT, candidate.data_report)):
            (self.path / file).write_text(json.dumps(content, indent=2), encoding="utf-8")
        (self.path / CARD).write_text(candidate.model_card, encoding="utf-8")
        candidate.probe.to_parquet(self.path / PROBE_SET, index=False)
        patches = {CHANGES: origin.run.git.patch, DATA_CHANGES: origin.data.run.git.patch if origin.data else None}
        for file, patch in patches.items():
            if patch is not None:
                (self.path / file).write_bytes(patch)
        made = [file for file in (EVALUATION, DATA_REPORT, CARD, PROBE_SET, *patches) if (self.path / file).exists()]
        complete = origin.model_copy(update={"files": {file: self.digest_of(file) for file in made}})
        (self.path / PROVENANCE).write_text(statement.write(complete, name), encoding="utf-8")

    def vouch(self, keys: Keys) -> None:
        """Sign a folder that comes from a store, if it is as a run wrote it.

        Raises:
            ChangedError: it was changed since it was signed, a file is not the recorded one, or no run wrote it.
            MissingKeyError: there is no key.
        """
        if self.is_signed:
            try:
                self.verify(keys)
            except (signature.ChangedError, signature.MissingKeyError):
                raise
            except signature.SignatureError:  # by another key: that is what somebody signs it again for
                pass
        recorded = self.provenance().files
        there = {path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if not path.is_dir()}
        if strange := sorted(there - {MODEL, PROVENANCE, *OF_MLFLOW, *signature.NOT_SIGNED, *recorded}):
            raise signature.ChangedError(f"it holds files that no run wrote: {', '.join(strange)}")
        if changed := [file for file, digest in recorded.items() if self.digest_of(file) != digest]:
            raise signature.ChangedError(f"these files are not the recorded ones: {', '.join(changed)}")
        self.sign(keys)

    def sign(self, keys: Keys) -> None:
        """Sign all of it.

        Raises:
            MissingKeyError: there is no key.
        """
        with keys.private() as key:
            signature.sign(self.path, key)

    def verify(self, keys: Keys) -> Path:
        """See that all of it is what a trusted key signed; return the key.

        Raises:
            SignatureError: it is not, or there is no key to tell.
        """
        return signature.verify(self.path, keys.public())

    @property
    def is_signed(self) -> bool:
        """Whether there is a signature, good or bad."""
        return (self.path / signature.SIGNATURE).is_file()

    def read(self, file: str) -> bytes:
        """Read one of its files.

        Raises:
            RegistryError: it is not there.
        """
        try:
            return (self.path / file).read_bytes()
        except FileNotFoundError:
            if file == PROVENANCE and self.earlier_record is not None:
                return self.earlier_record
            raise RegistryError(f"the artifact store holds no {file} of it") from None

    def digest_of(self, file: str) -> str:
        """SHA-256 of one of its files."""
        return hashlib.sha256(self.read(file)).hexdigest()

    def model(self) -> OnnxModel:
        """The model."""
        return OnnxModel(self.read(MODEL))

    def provenance(self) -> Provenance:
        """The record of its origin."""
        return statement.read(self.read(PROVENANCE))

    def evaluation(self) -> dict[str, Any]:
        """How good it was found."""
        return dict(json.loads(self.read(EVALUATION)))

    def probe(self) -> "pd.DataFrame":
        """The probe set with the model's answers."""
        import pandas as pd

        self.read(PROBE_SET)
        return pd.read_parquet(self.path / PROBE_SET)

    def changes(self, file: str = CHANGES) -> bytes | None:
        """What a run had changed beyond its commit, if that was kept."""
        return self.read(file) if (self.path / file).exists() else None
