"""The reproduction of one version, from its places to its verdict."""

import re
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ml_lifecycle.errors import ProvenanceError, RegistryError, ReproductionError
from ml_lifecycle.gate import Answer
from ml_lifecycle.model_folder import ModelFolder
from ml_lifecycle.provenance import git
from ml_lifecycle.provenance.record import CHANGES, DATA_CHANGES, Provenance
from ml_lifecycle.reproduction import configuration, outcome, raw_data, virtual_environment, worktree
from ml_lifecycle.reproduction.outcome import Verdict, verdict
from ml_lifecycle.reproduction.place import ENVIRONMENT, Place
from ml_lifecycle.reproduction.store import FILES, Store, store_of

MAKES_DATA = "data_engineering"
#: What the run that trained takes from the one that made the data.
HANDED_ON = ["model_input", "table_roles", "data_report", "data_record"]
#: What a training makes that is compared; the report comes with the data.
TRAINED = ["onnx_model", "probe_set", "evaluation", "training_record"]
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
    on: str = FILES
    python: str | None = None
    say: Callable[[str], None] = print

    @cached_property
    def provenance(self) -> Provenance:
        """The record of the version."""
        return self.folder.provenance()

    @cached_property
    def store(self) -> Store | None:
        """Where its tables go to; None for files."""
        return store_of(self.project, self.on, f"reproduce/{self.root.name}")

    def places(self) -> list[Place]:
        """One place if one code made data and model, two if the data came from another."""
        run, data = self.provenance.run, self.provenance.data
        tree, first = self.root / "run", self.root / "data"
        if data is None or data.run.origin == run.origin:
            pipelines = sorted({*run.pipelines, *(data.run.pipelines if data else [])})
            return [Place(tree, run, tree / ".venv", pipelines, [*TRAINED, "data_report"], [], self.store, self.say)]
        same = data.run.environment.lock_sha256 == run.environment.lock_sha256
        shared = (first if same else tree) / ".venv"
        trains = [name for name in run.pipelines if name != MAKES_DATA]
        return [
            Place(first, data.run, first / ".venv", data.run.pipelines, HANDED_ON, [], self.store, self.say),
            Place(tree, run, shared, trains, TRAINED, HANDED_ON, self.store, self.say),
        ]

    def prepare(self) -> list[Place]:
        """Make worktrees with environment, data and parameters, ready to run.

        Raises:
            ReproductionError: the commit is not here, its changes were not kept, its lock cannot be installed, its
                configuration cannot be read, or it would write elsewhere.
        """
        places = self.places()
        for place, patch in zip(places, (DATA_CHANGES, CHANGES)[-len(places) :], strict=True):
            worktree.check_out(self.project, self.folder, place, patch)
            virtual_environment.build(place, self.python)
            configuration.configure(place, self.project)
        raw_data.restore(self.project, places[0], self.provenance.raw_inputs)
        return places

    def run(self, places: list[Place]) -> None:
        """Run data_engineering and training; the second place goes on with what the first one made.

        Raises:
            ReproductionError: a run failed.
        """
        for number, place in enumerate(places):
            for dataset in place.given:
                files, path = place.file_of(dataset)
                files.makedirs(path.rpartition("/")[0], exist_ok=True)
                files.pipe_file(path, places[number - 1].read(dataset))
            self._kedro(place)

    def _kedro(self, place: Place) -> None:
        self.say(f"running {', '.join(place.pipelines)}")
        what = ("--pipelines", ",".join(place.pipelines), "--to-outputs", ",".join(place.outputs))
        keys = () if self.store is None else (OF_STORE,)
        command = (str(place.python), "-m", "kedro", "run", "--env", ENVIRONMENT, *what)
        place.call(*command, variables=place.variables(*keys))

    def reproduce(self, *, keep: bool) -> Verdict:
        """Make the version again and compare; where that is impossible, the answer is that it cannot be decided.

        ``keep``: the worktrees are not removed.
        """
        python = "unknown"
        try:
            python = self.provenance.run.environment.python
            places = self.prepare()
            changed = [row for row in raw_data.compare(places[0], self.provenance.raw_inputs) if not row.equal]
            if changed:
                return verdict(changed, python)
            self.run(places)
            return verdict(outcome.compare(places[-1], self.folder), python)
        except (ReproductionError, ProvenanceError, RegistryError) as error:
            return Verdict(Answer.CANNOT, [], error.message, python)
        finally:
            if keep:
                self.say(f"kept: {self.root}")
            else:
                self.clean_up()

    def clean_up(self) -> None:
        """Remove the worktrees, and what lies in a store; what cannot be removed is named."""
        try:
            if any(self.root.glob(f"*/conf/{ENVIRONMENT}")) and self.store is not None:
                self.store.clear()
        except Exception as error:  # noqa: BLE001 - whatever a store raises: the folders can still be removed
            self.say(f"what the reproduction wrote to the store could not be removed: {error}")
        for name in ("data", "run"):
            git.remove_worktree(self.project, self.root / name)
        shutil.rmtree(self.root, ignore_errors=True)


def new_root(project: Path, name: str) -> Path:
    """Make an empty folder for a reproduction."""
    root = project / "build/reproduce" / f"{name}-{uuid.uuid4().hex[:8]}"
    root.mkdir(parents=True)
    return root
