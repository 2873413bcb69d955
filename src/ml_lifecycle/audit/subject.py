"""What is audited: one version, and where its links lead."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ml_lifecycle.audit.finding import BrokenError, UncheckedError, shown
from ml_lifecycle.errors import ProvenanceError, RegistryError
from ml_lifecycle.model_folder import ModelFolder
from ml_lifecycle.promotion import Registrar, signature_of
from ml_lifecycle.provenance.record import Provenance
from ml_lifecycle.registry import runs
from ml_lifecycle.registry.runs import RUN_ID, RunFacts
from ml_lifecycle.registry.versions import Version


@dataclass(frozen=True)
class Subject:
    """One version.

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
    def provenance(self) -> Provenance:
        """The record.

        Raises:
            UncheckedError: it cannot be read; the link "record" says that this is wrong.
        """
        try:
            return self.folder.provenance()
        except (ProvenanceError, RegistryError) as error:
            raise UncheckedError(f"the record cannot be read: {error}") from error

    @cached_property
    def signature(self) -> tuple[str, str]:
        """Whether a trusted key signed the folder as it is, and which, or why not."""
        return signature_of(self.folder, self.registrar.keys)

    def read(self, file: str) -> bytes:
        """Read a file of the folder.

        Raises:
            BrokenError: there is none.
        """
        try:
            return self.folder.read(file)
        except (RegistryError, IsADirectoryError):
            raise BrokenError(f"expected {file} in the artifact store, found none") from None

    def refuse_no_run(self) -> None:
        """See that the registry names a run.

        Raises:
            BrokenError: it does not.
        """
        if not RUN_ID.fullmatch(self.version.run_id):
            raise BrokenError(f"expected the run that made it, found {shown(self.version.run_id)} in the registry")

    @cached_property
    def facts(self) -> RunFacts:
        """What the tracking store knows of its run.

        Raises:
            BrokenError: there is no such run.
        """
        self.refuse_no_run()
        try:
            return runs.of(self.version)
        except RegistryError as error:
            raise BrokenError(f"expected the run that made it, found: {error}") from error
