"""A version made again: its commit in a worktree, its lock in an environment, its data, its parameters; and compared.

Neither the registry nor the caller's files are touched.
"""

import contextlib
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import yaml
from kedro.config import AbstractConfigLoader, MissingConfigException
from kedro.framework.project import settings
from kedro.io import CatalogConfigResolver

from ml_lifecycle.errors import LifecycleError, ProvenanceError, RegistryError
from ml_lifecycle.gate import Answer
from ml_lifecycle.model_folder import ModelFolder
from ml_lifecycle.nested import flat
from ml_lifecycle.provenance import git
from ml_lifecycle.provenance.raw_inputs import has_remote, open_repo
from ml_lifecycle.provenance.record import (
    CHANGES,
    DATA_CHANGES,
    DATA_REPORT,
    EVALUATION,
    Provenance,
    RawInput,
    RunRecord,
    TrainingRecord,
    digest_of_probe,
)

#: Ignored by Git, so that the worktree stays as its commit.
ENVIRONMENT = "local/reproduce"
#: What the run that trained takes from the one that made the data.
HANDED_ON = ("model_input", "table_roles", "data_report", "data_record")
RESULTS = ("onnx_model", "probe_set", "evaluation", "data_report", "training_record")
BASE = "base"
#: What Kedro's catalog takes for names it does not know; without it, a warning.
_IN_MEMORY = {"{default}": {"type": "kedro.io.MemoryDataset"}}
#: What the code of another commit gets to know: programs, languages, proxies and certificates. No key is among it.
_KNOWN = re.compile(
    r"^(PATH|HOME|USER|LANG|LC_\w+|TZ|TMPDIR|LD_LIBRARY_PATH|OMP_NUM_THREADS|OPENBLAS_NUM_THREADS|MKL_NUM_THREADS"
    r"|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|GIT_CONFIG_GLOBAL|GIT_CONFIG_NOSYSTEM|DVC_SITE_CACHE_DIR)$"
    r"|^(http|https|no|all)_proxy$",
    re.IGNORECASE,
)
#: What installing packages needs beside: where they come from.
_INSTALLING = re.compile(r"^(PIP|UV)_")
_OF_STORE = re.compile(r"^AWS_")
_PROGRESS = re.compile(r"Completed (\d+) out of (\d+) tasks")


class ReproductionError(LifecycleError):
    """A version that cannot be made again here."""


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
class Place:
    """A worktree in which a run is repeated, with an environment that was built in it, or in another."""

    tree: Path
    run: RunRecord
    environment: Path

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return self.environment / "bin/python"

    def variables(self, *beside: re.Pattern[str]) -> dict[str, str]:
        """The variables of its commands: a few known ones, and those that fit one of the patterns ``beside``."""
        allowed = (_KNOWN, *beside)
        kept = {name: value for name, value in os.environ.items() if any(known.match(name) for known in allowed)}
        return {
            **kept,
            "PATH": f"{self.python.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.tree / "src"),
        }

    @cached_property
    def loader(self) -> AbstractConfigLoader:
        """Its configuration."""
        resolvers = {"in_project": lambda path: str(self.tree / path)}
        arguments = {**settings.CONFIG_LOADER_ARGS, "custom_resolvers": resolvers}
        loader: AbstractConfigLoader = settings.CONFIG_LOADER_CLASS(
            str(self.tree / "conf"), env=ENVIRONMENT, **arguments
        )
        return loader

    @cached_property
    def _catalog(self) -> CatalogConfigResolver:
        try:
            credentials = self.loader["credentials"]
        except MissingConfigException:
            credentials = {}
        return CatalogConfigResolver(self.loader["catalog"], credentials, default_runtime_patterns=_IN_MEMORY)

    def file_of(self, dataset: str) -> tuple[Any, str]:
        """File system and path of a dataset."""
        entry = self._catalog.config.get(dataset) or self._catalog.resolve_pattern(dataset)
        entry = entry.get("dataset", entry)
        url, options = str(entry["filepath"]), entry.get("credentials") or {}
        found: tuple[Any, str] = fsspec.core.url_to_fs(url if "://" in url else str(self.tree / url), **options)
        return found

    def read(self, dataset: str) -> bytes:
        """Read what a run wrote."""
        files, path = self.file_of(dataset)
        return bytes(files.cat_file(path))


def interpreter(recorded: str, given: str | None) -> str:
    """Find a Python of the recorded minor version.

    Raises:
        ReproductionError: there is none.
    """
    minor = ".".join(recorded.split(".")[:2])
    if given is not None:
        return given
    if platform.python_version().startswith(f"{minor}."):
        return getattr(sys, "_base_executable", sys.executable)
    found = shutil.which(f"python{minor}")
    if found is None:
        raise ReproductionError(
            f"The version was made with Python {recorded}; this is {platform.python_version()}, and there is no "
            f"python{minor} on the PATH. Install it, or name one with --python."
        )
    return found


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

    def refuse_unknown_store(self) -> None:
        """See that the environment whose store is asked for has one.

        Raises:
            ReproductionError: it has none.
        """
        conf = self.project / "conf"
        if self.on != BASE and not (conf / self.on / "credentials.yml").exists():
            known = ", ".join([BASE, *sorted(file.parent.name for file in conf.glob("*/credentials.yml"))])
            raise ReproductionError(f"The environment '{self.on}' has no store to write to. Allowed: {known}.")

    def places(self) -> list[Place]:
        """One place if one code made data and model, two if the data came from another."""
        run, data = self.provenance.run, self.provenance.data
        tree, first = self.root / "run", self.root / "data"
        if data is None or _origin(data.run) == _origin(run):
            return [Place(tree, run, tree / ".venv")]
        same = data.run.environment.lock_sha256 == run.environment.lock_sha256
        environment = (first if same else tree) / ".venv"
        return [Place(first, data.run, first / ".venv"), Place(tree, run, environment)]

    def prepare(self) -> list[Place]:
        """Make worktrees with environment, data and parameters, ready to run.

        Raises:
            ReproductionError: the commit is not here, its changes were not kept, or its lock cannot be installed.
        """
        places = self.places()
        for place, patch in zip(places, (DATA_CHANGES, CHANGES)[-len(places) :], strict=True):
            self._check_out(place, patch)
            self._build(place)
            self._configure(place)
        self._restore(places[0])
        return places

    def _check_out(self, place: Place, patch: str) -> None:
        state = place.run.git
        self.say(f"checking out {state.commit}")
        if not git.holds(self.project, state.commit):
            fetch = "git fetch --unshallow" if git.is_shallow(self.project) else "git fetch --all"
            raise ReproductionError(
                f"The commit {state.commit} is not in this repository. Fetch it (`{fetch}`), or ask whoever made the "
                "version for it."
            )
        changes = self.folder.changes(patch) if state.dirty else None
        if state.dirty and changes is None:
            raise ReproductionError(
                f"It was made with uncommitted changes to {state.commit} that were not kept: they were larger than "
                f"{git.LARGEST_PATCH:,} bytes, or held a secret. It cannot be made again from a commit."
            )
        git.add_worktree(self.project, state.commit, place.tree)
        if changes is not None:
            git.apply(place.tree, changes)
        found = git.describe(place.tree).diff_sha256
        if found != state.diff_sha256:
            raise ReproductionError(
                f"The changes that were kept are not those of the record: recorded SHA-256 {state.diff_sha256}, "
                f"found {found}."
            )

    def _build(self, place: Place) -> None:
        """Build the environment from the lock, unless another place with the same lock has it."""
        if place.environment.exists():
            return
        self.say("building the environment from requirements/run.txt")
        python = interpreter(place.run.environment.python, self.python)
        install = functools.partial(self._call, place, variables=place.variables(_INSTALLING))
        install(python, "-m", "venv", ".venv")
        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes")
        install(str(place.python), *pip, "--requirement", "requirements/uv.txt")
        constraints = ("--build-constraints", "requirements/build.txt")
        uv = ("-m", "uv", "pip", "install", "--python", str(place.python), "--require-hashes", *constraints)
        install(str(place.python), *uv, "--requirement", "requirements/run.txt")

    def _configure(self, place: Place) -> None:
        """Write an environment with the recorded parameters, and with paths that are the reproduction's own."""
        conf, recorded = place.tree / "conf", place.run.kedro_environment
        target = conf / ENVIRONMENT
        target.mkdir(parents=True)
        if recorded != BASE:
            for file in (conf / recorded).glob("catalog*.yml"):
                shutil.copyfile(file, target / file.name)
        content = _globals(conf, recorded)
        paths = {key: path for key, path in content.get("paths", {}).items() if "://" not in path}
        model = content.get("registry", {}).get("model")
        chosen: dict[str, Any] = {"registry": {"model": model}} if model else {}
        if self.on != BASE:
            store = _globals(conf, self.on)
            name = store["store"]["credentials"]
            _write(target / "credentials.yml", {name: _read(conf / self.on / "credentials.yml")[name]})
            remote = {key: path for key, path in store["paths"].items() if "://" in path}
            paths |= {key: self._own(path) for key, path in remote.items()}
            chosen["store"] = {"credentials": name}
        _write(target / "globals.yml", {**chosen, "paths": paths})
        _write(target / "parameters.yml", place.run.parameters)

    def _own(self, url: str) -> str:
        """A place of this reproduction in the bucket of a path."""
        bucket, _, path = url.partition("://")[2].partition("/")
        return f"{url.partition('://')[0]}://{bucket}/reproduce/{self.root.name}/{path}"

    def _restore(self, place: Place) -> None:
        """Bring the raw tables from DVC's cache or remote; what neither has, the run makes by its stage.

        The caller's DVC does it, with the caller's keys, so that the code of the commit does not see them.
        """
        self.say("restoring the raw data at the recorded hashes")
        shared = self.project / ".dvc/config.local"
        if shared.exists():
            shutil.copyfile(shared, place.tree / ".dvc/config.local")
        with open_repo(self.project) as repo:
            cache, commands = str(repo.cache.local_cache_dir), ["checkout", *["pull"] * has_remote(repo)]
        dvc = (sys.executable, "-P", "-m", "dvc")
        self._call(place, *dvc, "cache", "dir", "--quiet", "--local", cache, variables=dict(os.environ))
        for raw in self.provenance.raw_inputs.values():
            for command in commands:
                with contextlib.suppress(ReproductionError):
                    self._call(place, *dvc, command, "--quiet", raw.path, variables=dict(os.environ))
                    break

    def changed_data(self, place: Place) -> list[Row]:
        """Compare the bytes of the raw tables that are there with the record, without DVC."""
        files = {name: raw for name, raw in self.provenance.raw_inputs.items() if (place.tree / raw.path).is_file()}
        return [Row(f"raw data {name}", raw.md5, _md5(place.tree / raw.path)) for name, raw in files.items()]

    def run(self, places: list[Place]) -> None:
        """Run data_engineering and training; the second place goes on with what the first one made.

        Raises:
            ReproductionError: a run failed.
        """
        if len(places) == 1:
            pipelines = sorted({*self.provenance.run.pipelines, *_pipelines_of_data(self.provenance)})
            self._kedro(places[0], pipelines, RESULTS)
            return
        first, second = places
        self._kedro(first, first.run.pipelines, HANDED_ON)
        for dataset in HANDED_ON:
            files, path = second.file_of(dataset)
            files.makedirs(path.rpartition("/")[0], exist_ok=True)
            files.pipe_file(path, first.read(dataset))
        self._kedro(
            second, [name for name in second.run.pipelines if name != "data_engineering"], RESULTS[:3] + RESULTS[4:]
        )

    def _kedro(self, place: Place, pipelines: list[str], outputs: tuple[str, ...]) -> None:
        self.say(f"running {', '.join(pipelines)}")
        only = ("--to-outputs", ",".join(outputs))
        command = (
            str(place.python),
            "-m",
            "kedro",
            "run",
            "--env",
            ENVIRONMENT,
            "--pipelines",
            ",".join(pipelines),
            *only,
        )
        beside = () if self.on == BASE else (_OF_STORE,)
        self._call(place, *command, variables=place.variables(*beside))

    def _call(self, place: Place, *command: str, variables: Mapping[str, str]) -> None:
        """Run a command in a place, and pass on how far it is; whoever is interrupted ends it first."""
        said: list[str] = []
        try:
            process = subprocess.Popen(
                command, cwd=place.tree, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        except OSError as error:
            raise ReproductionError(f"{command[0]} cannot be run: {error.strerror}.") from error
        with process:
            try:
                for line in process.stdout or ():
                    said.append(line.rstrip())
                    if done := _PROGRESS.search(line):
                        self.say(f"  {done[1]} of {done[2]} steps")
            except BaseException:
                process.terminate()
                raise
        if process.returncode:
            last = " | ".join(said[-3:])
            raise ReproductionError(f"`{' '.join(map(os.path.basename, command[:5]))} …` failed: {last}")

    def compare(self, places: list[Place]) -> list[Row]:
        """Compare what went in and what came out with the record, row by row."""
        last = places[-1]
        made = TrainingRecord.model_validate_json(last.read("training_record"))
        evaluation, report = (json.loads(last.read(name)) for name in ("evaluation", "data_report"))
        probe = pd.read_parquet(BytesIO(last.read("probe_set")))
        record = self.provenance
        rows = [*self._ingredients(made), *_raw_rows(record.raw_inputs, report["raw_inputs"])]
        rows.append(Row("model bytes", record.model_sha256, hashlib.sha256(last.read("onnx_model")).hexdigest()))
        rows.append(Row("probe answers", record.probe_sha256, digest_of_probe(probe)))
        recorded = json.loads(self.folder.read(EVALUATION))
        rows += _differing("judge slice", _quality(recorded), _quality(evaluation))
        counted = json.loads(self.folder.read(DATA_REPORT))
        return rows + _differing("row counts", _counts(counted), _counts(report))

    def _ingredients(self, made: TrainingRecord) -> Iterator[Row]:
        """Compare the origin of the version with that of its reproduction."""
        stages = {"": (self.provenance.run, made.run)}
        if self.provenance.data is not None:
            stages = {"data: ": (self.provenance.data.run, made.data.run), **stages}
        for name, (recorded, found) in stages.items():
            yield Row(f"{name}commit", recorded.git.commit, found.git.commit)
            yield Row(f"{name}changes to it", recorded.git.diff_sha256, found.git.diff_sha256)
            yield Row(f"{name}lock", recorded.environment.lock_sha256, found.environment.lock_sha256)
            yield from _differing(f"{name}package", recorded.environment.deviations, found.environment.deviations)
            yield from _differing(f"{name}parameters", flat(recorded.parameters), flat(found.parameters))

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
                root = path.partition(f"reproduce/{self.root.name}")
                with contextlib.suppress(FileNotFoundError):
                    files.rm("".join(root[:2]), recursive=True)


def _origin(run: RunRecord) -> tuple[str, ...]:
    return run.git.commit, run.git.diff_sha256, run.environment.lock_sha256, run.parameters_sha256


def _pipelines_of_data(provenance: Provenance) -> list[str]:
    return [] if provenance.data is None else provenance.data.run.pipelines


def _globals(conf: Path, environment: str) -> dict[str, Any]:
    file = conf / environment / "globals.yml"
    if environment == BASE or not file.exists():
        return {}
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {})


def _read(file: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {})


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(yaml.safe_dump(dict(content)), encoding="utf-8")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _differing(what: str, recorded: Mapping[str, Any], found: Mapping[str, Any]) -> list[Row]:
    """One row for each difference; one for all if there is none."""
    names = sorted({*recorded, *found})
    rows = [Row(f"{what} {name}", str(recorded.get(name)), str(found.get(name))) for name in names]
    different = [row for row in rows if not row.equal]
    count = f"{len(names)} values" if names else "as locked"
    return different or [Row(what, count, count)]


def _raw_rows(recorded: Mapping[str, RawInput], found: Mapping[str, Any]) -> list[Row]:
    return [Row(f"raw data {name}", raw.md5, str(found.get(name, {}).get("md5"))) for name, raw in recorded.items()]


def _quality(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    return flat(
        {key: evaluation.get(key) for key in ("rows", "positives", "judge_sha256", "threshold", "model", "baselines")}
    )


def _counts(report: Mapping[str, Any]) -> dict[str, Any]:
    return flat({"rows": report["rows"], "slices": report["slices"]})


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


def reproduce(reproduction: Reproduction, *, keep: bool) -> Verdict:
    """Make a version again and compare; where that is impossible, the answer is that it cannot be decided."""
    python = "unknown"
    try:
        python = reproduction.provenance.run.environment.python
        reproduction.refuse_unknown_store()
        places = reproduction.prepare()
        if changed := [row for row in reproduction.changed_data(places[0]) if not row.equal]:
            return verdict(changed, python)
        reproduction.run(places)
        return verdict(reproduction.compare(places), python)
    except (ReproductionError, ProvenanceError, RegistryError) as error:
        return Verdict(Answer.CANNOT, [], error.message, python)
    finally:
        if keep:
            reproduction.say(f"kept: {reproduction.root}")
        else:
            reproduction.clean_up()


def new_root(project: Path, name: str) -> Path:
    """Make an empty folder for a reproduction."""
    root = project / "build/reproduce" / f"{name}-{uuid.uuid4().hex[:8]}"
    root.mkdir(parents=True)
    return root
