"""The reproduction of one version, from its places to its verdict."""

import contextlib
import re
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ml_lifecycle.errors import ProvenanceError, RegistryError
from ml_lifecycle.gate import Answer
from ml_lifecycle.model_folder import ModelFolder
from ml_lifecycle.provenance import git
from ml_lifecycle.provenance.record import CHANGES, DATA_CHANGES, Provenance
from ml_lifecycle.reproduction import configuration, environment, outcome, raw_data, worktree
from ml_lifecycle.reproduction.configuration import BASE
from ml_lifecycle.reproduction.outcome import Verdict, verdict
from ml_lifecycle.reproduction.place import ENVIRONMENT, Place, ReproductionError

MAKES_DATA = "data_engineering"
#: What the run that trained takes from the one that made the data.
HANDED_ON = ("model_input", "table_roles", "data_report", "data_record")
#: What a training makes that is compared; the report comes with the data.
TRAINED = ("onnx_model", "probe_set", "evaluation", "training_record")
#: The keys of the store that the tables go to.
OF_STORE = re.compile(r"^AWS_")


@dataclass(frozen=True)
class Reproduction:
    """One version, to be made again.

    Attributes:
        project: the clone with the commit, DVC's cache and its remote.
        folder: a copy of what the artifact store keeps of the version.
        root: an empty folder in which all happens.
        on: the environment whose store the tables go to: ``base`` for files.
        python: the interpreter to build the environment from, if another than the recorded version's.
        say: is told how far it is.
    """

    project: Path
    folder: ModelFolder
    root: Path
    on: str = BASE
    python: str | None = None
    say: Callable[[str], None] = print

    @cached_property
    def provenance(self) -> Provenance:
        """The record of the version."""
        return self.folder.provenance()

    @property
    def _own(self) -> str:
        """Its folder in the buckets of a store."""
        return f"reproduce/{self.root.name}"

    def places(self) -> list[Place]:
        """One place if one code made data and model, two if the data came from another."""
        run, data = self.provenance.run, self.provenance.data
        tree, first = self.root / "run", self.root / "data"
        if data is None or data.run.origin == run.origin:
            return [Place(tree, run, tree / ".venv", self.say)]
        same = data.run.environment.lock_sha256 == run.environment.lock_sha256
        shared = (first if same else tree) / ".venv"
        return [Place(first, data.run, first / ".venv", self.say), Place(tree, run, shared, self.say)]

    def prepare(self) -> list[Place]:
        """Make worktrees with environment, data and parameters, ready to run.

        Raises:
            ReproductionError: the commit is not here, its changes were not kept, it would write elsewhere, or its lock
                cannot be installed.
        """
        places = self.places()
        for place, patch in zip(places, (DATA_CHANGES, CHANGES)[-len(places) :], strict=True):
            worktree.check_out(self.project, self.folder, place, patch)
            configuration.configure(place, self.on, self._own)
            environment.build(place, self.python)
        raw_data.restore(self.project, places[0], self.provenance.raw_inputs)
        return places

    def run(self, places: list[Place]) -> None:
        """Run data_engineering and training; the second place goes on with what the first one made.

        Raises:
            ReproductionError: a run failed.
        """
        *before, last = places
        if not before:
            data = self.provenance.data
            made_data = [] if data is None else data.run.pipelines
            self._kedro(last, sorted({*last.run.pipelines, *made_data}), (*TRAINED, "data_report"))
            return
        (first,) = before
        self._kedro(first, first.run.pipelines, HANDED_ON)
        for dataset in HANDED_ON:
            files, path = last.file_of(dataset)
            files.makedirs(path.rpartition("/")[0], exist_ok=True)
            files.pipe_file(path, first.read(dataset))
        self._kedro(last, [name for name in last.run.pipelines if name != MAKES_DATA], TRAINED)

    def _kedro(self, place: Place, pipelines: list[str], outputs: tuple[str, ...]) -> None:
        self.say(f"running {', '.join(pipelines)}")
        what = ("--pipelines", ",".join(pipelines), "--to-outputs", ",".join(outputs))
        keys = () if self.on == BASE else (OF_STORE,)
        command = (str(place.python), "-m", "kedro", "run", "--env", ENVIRONMENT, *what)
        place.call(*command, variables=place.variables(*keys))

    def clean_up(self) -> None:
        """Remove the worktrees, and what lies in a store; what cannot be removed is named."""
        try:
            if self.on != BASE:
                self._empty_store()
        except Exception as error:  # noqa: BLE001 - whatever a store raises: the folders can still be removed
            self.say(f"what the reproduction wrote to the store could not be removed: {error}")
        for name in ("data", "run"):
            git.remove_worktree(self.project, self.root / name)
        shutil.rmtree(self.root, ignore_errors=True)

    def _empty_store(self) -> None:
        for place in self.places():
            if (place.tree / "conf" / ENVIRONMENT).exists():
                files, path = place.file_of("model_input")
                root = path.partition(self._own)
                with contextlib.suppress(FileNotFoundError):
                    files.rm("".join(root[:2]), recursive=True)


def reproduce(job: Reproduction, *, keep: bool) -> Verdict:
    """Make a version again and compare; where that is impossible, the answer is that it cannot be decided."""
    python = "unknown"
    try:
        python = job.provenance.run.environment.python
        configuration.refuse_unknown_store(job.project, job.on)
        places = job.prepare()
        changed = [row for row in raw_data.compare(places[0], job.provenance.raw_inputs) if not row.equal]
        if changed:
            return verdict(changed, python)
        job.run(places)
        return verdict(outcome.compare(places[-1], job.folder), python)
    except (ReproductionError, ProvenanceError, RegistryError) as error:
        return Verdict(Answer.CANNOT, [], error.message, python)
    finally:
        if keep:
            job.say(f"kept: {job.root}")
        else:
            job.clean_up()


def new_root(project: Path, name: str) -> Path:
    """Make an empty folder for a reproduction."""
    root = project / "build/reproduce" / f"{name}-{uuid.uuid4().hex[:8]}"
    root.mkdir(parents=True)
    return root
