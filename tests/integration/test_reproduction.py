"""`kedro model reproduce`: equal where nothing was changed, and not equal, by name, where one thing was."""

import contextlib
import json
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from ml_lifecycle.gate import Answer
from ml_lifecycle.registry import versions
from ml_lifecycle.reproduction import outcome, raw_data, virtual_environment
from ml_lifecycle.reproduction.outcome import Verdict, verdict
from ml_lifecycle.reproduction.place import ENVIRONMENT, Place
from ml_lifecycle.reproduction.reproduction import Reproduction, new_root
from ml_lifecycle.workspace import open_workspace
from project_copy import MODEL, Lifecycle, ProjectCopy, finished, inside

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]

RESULTS = {"model bytes", "probe answers"}


def asked(project: ProjectCopy, version: str, *options: str, code: int = 0) -> dict:
    """Ask `kedro model reproduce … --json` in a process of its own."""
    command = ("kedro", "model", "reproduce", version, "--env", "test", "--json", *options)
    result = project.run(*command, check=False)
    assert code == result.returncode, f"{result.stdout}\n{result.stderr[-3000:]}"
    return json.loads(result.stdout)


def files_of(project: ProjectCopy) -> dict[str, bytes]:
    """Everything in the copy that a person would miss, but for the database that holds the verdict."""
    roots = ("data", "build/test/0*", "conf", "src", ".dvc/config*")
    found = [path for root in roots for path in project.path.glob(root)]
    files = [file for path in found for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    return {str(file): file.read_bytes() for file in files if "__pycache__" not in file.parts}


@contextlib.contextmanager
def reproduction(project: ProjectCopy, version: str) -> Iterator[Reproduction]:
    """Open a reproduction of a version inside this process."""
    from kedro.framework.startup import bootstrap_project

    with inside(project):
        bootstrap_project(project.path)
        with open_workspace("test") as workspace, versions.folder(workspace.find(version)) as folder:
            yield Reproduction(project.path, folder, new_root(project.path, version), say=lambda _: None)


@pytest.fixture(scope="module")
def project_of_controls(lifecycle: Lifecycle, tmp_path_factory: pytest.TempPathFactory) -> ProjectCopy:
    """Return a copy of the finished run for the negative controls."""
    return lifecycle.project.clone(tmp_path_factory.mktemp("controls") / "project")


@pytest.fixture(scope="module")
def prepared(project_of_controls: ProjectCopy) -> Iterator[tuple[Reproduction, Place]]:
    """Return a reproduction that is ready to run: worktree, environment, data and parameters."""
    with reproduction(project_of_controls, "1") as job:
        (place,) = job.prepare()
        yield job, place
        job.clean_up()


@pytest.fixture
def control(prepared: tuple[Reproduction, Place]) -> Callable[[], Verdict]:
    """Return a function: run what was prepared, and changed since, and compare."""
    job, place = prepared

    def run() -> Verdict:
        job.run([place])
        return verdict(outcome.compare(place, job.folder), "3.11")

    return run


def test_an_untouched_version_is_equal(finished_project: ProjectCopy) -> None:
    """The version is made again bit for bit; the verdict is kept with it, and nothing else has changed."""
    client = MlflowClient(finished_project.tracking_uri)
    before, runs = files_of(finished_project), len(client.search_runs(["1"]))
    said = asked(finished_project, "@production")
    assert ("yes", True) == (said["answer"], all(row["equal"] for row in said["rows"]))
    named = {row["what"] for row in said["rows"]}
    assert {
        *RESULTS,
        "commit",
        "lock",
        "parameters",
        "package",
        "judge slice",
        "row counts",
        "raw data flights",
    } <= named
    (digest,) = [row["reproduced"] for row in said["rows"] if row["what"] == "model bytes"]
    version = client.get_model_version(MODEL, "1")
    assert digest == version.tags["model_sha256"]
    assert version.tags["reproduced"].startswith("yes: equal")
    shown = json.loads(finished_project.run("kedro", "model", "show", "1", "--env", "test", "--json").stdout)
    (kept,) = shown["reproductions"]
    assert {"by", "where", "at", "rows", "python"} <= set(kept)
    assert (before, runs) == (files_of(finished_project), len(client.search_runs(["1"])))
    assert [] == list((finished_project.path / "build/reproduce").iterdir())
    assert 1 == len(finished_project.run("git", "worktree", "list").stdout.splitlines())
    assert "" == finished_project.run("git", "status", "--porcelain").stdout


class TestControls:
    """Each control changes one thing in what was prepared, and puts it back."""

    def test_one_changed_byte_of_data(self, prepared: tuple[Reproduction, Place]) -> None:
        """A raw table that is not the recorded one is named before anything runs."""
        job, place = prepared
        raw = place.tree / "data/01_raw/sample/planes.csv"
        content = raw.read_bytes()
        raw.chmod(0o644)
        raw.write_bytes(content.replace(b"BOEING", b"BOEINH", 1))
        found = verdict(raw_data.compare(place, job.provenance.raw_inputs), "3.11")
        raw.write_bytes(content)
        assert (Answer.NO, ["raw data planes"]) == (found.answer, found.differences)
        assert Answer.YES == verdict(raw_data.compare(place, job.provenance.raw_inputs), "3.11").answer

    def test_one_changed_byte_of_data_that_dvc_was_told_of(
        self, prepared: tuple[Reproduction, Place], control: Callable[[], Verdict]
    ) -> None:
        """Even where DVC takes the change, the table is named, and the model is another."""
        place = prepared[1]
        raw = place.tree / "data/01_raw/sample/flights.csv.zip"
        content = raw.read_bytes()
        raw.chmod(0o644)
        with zipfile.ZipFile(raw) as archive:
            text = archive.read("flights.csv")
        assert b",UA," in text
        with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo("flights.csv"), text.replace(b",UA,", b",AA,", 1), zipfile.ZIP_DEFLATED)
        lock = place.tree / "conf/test/dvc.lock"
        record = lock.read_text(encoding="utf-8")
        _dvc(place, "commit", "--force", "conf/test/dvc.yaml:raw_sample")
        try:
            found = control()
        finally:
            raw.write_bytes(content)
            lock.write_text(record, encoding="utf-8")
        assert Answer.NO == found.answer
        assert {"raw data flights", "model bytes", "probe answers"} <= set(found.differences)

    @pytest.mark.parametrize(
        ("path", "value"), [("model.random_forest.min_samples_leaf", 21), ("seed", 7)], ids=["parameter", "seed"]
    )
    def test_one_changed_parameter(
        self, prepared: tuple[Reproduction, Place], control: Callable[[], Verdict], path: str, value: int
    ) -> None:
        """A parameter, or the seed, that is not the recorded one is named, and the model is another."""
        file = prepared[1].tree / "conf" / ENVIRONMENT / "parameters.yml"
        recorded = file.read_text(encoding="utf-8")
        parameters = yaml.safe_load(recorded)
        *groups, name = path.split(".")
        group = parameters
        for key in groups:
            group = group[key]
        group[name] = value
        file.write_text(yaml.safe_dump(parameters), encoding="utf-8")
        try:
            found = control()
        finally:
            file.write_text(recorded, encoding="utf-8")
        assert Answer.NO == found.answer
        assert {f"parameters {path}", *RESULTS} <= set(found.differences)
        assert f"parameters {path}" in found.explanation

    def test_another_scikit_learn(self, prepared: tuple[Reproduction, Place], control: Callable[[], Verdict]) -> None:
        """A package that is not the lock's is named with both versions."""
        place = prepared[1]
        uv = (str(place.python), "-m", "uv", "pip", "install", "--quiet", "--python", str(place.python), "--no-deps")
        installed = subprocess.run([*uv, "scikit-learn==1.8.0"], check=False, capture_output=True, text=True)
        assert 0 == installed.returncode, installed.stderr
        try:
            found = control()
        finally:
            lock = place.tree / "requirements/run.txt"
            subprocess.run([*uv, "--require-hashes", "--requirement", str(lock)], check=True, capture_output=True)
        assert Answer.NO == found.answer
        assert "package scikit-learn" in found.differences
        (row,) = [row for row in found.rows if row.what == "package scikit-learn"]
        assert ("None", "1.8.0") == (row.recorded, row.reproduced)

    def test_without_a_change_it_is_equal(self, control: Callable[[], Verdict]) -> None:
        """The controls put everything back: so each difference was that of its control."""
        found = control()
        assert (Answer.YES, []) == (found.answer, found.differences)


def _dvc(place: Place, *arguments: str) -> None:
    command = [str(place.python), "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=place.tree, env=place.variables(), check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def made_again(prepared: tuple[Reproduction, Place], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Verdict]:
    """Return a function: reproduce a version in the environment that was built for the controls, with the same lock."""
    built = prepared[1].venv

    def use(place: Place, python: str | None) -> None:
        if not place.venv.exists():
            place.venv.symlink_to(built)

    def run(project: ProjectCopy, version: str) -> Verdict:
        monkeypatch.setattr(virtual_environment, "build", use)
        with reproduction(project, version) as job:
            return job.reproduce(keep=False)

    return run


def found_for(verdict: Verdict, what: str) -> set[str]:
    """What was found for something that was compared, in each of its parts."""
    return {row.reproduced for row in verdict.rows if row.what.endswith(what)}


def test_a_dirty_version_is_made_again_with_its_changes(
    finished_project: ProjectCopy, made_again: Callable[..., Verdict]
) -> None:
    """Uncommitted changes, a new file among them, are kept with the version, and applied to its commit."""
    parameters = finished_project.path / "conf/test/parameters_training.yml"
    parameters.write_text(parameters.read_text(encoding="utf-8").replace("n_estimators: 20", "n_estimators: 5"))
    (finished_project.path / "notes.md").write_text("Fewer trees.\n", encoding="utf-8")
    finished_project.run("kedro", "run", "--env", "test", "--pipelines", "data_engineering,training")
    finished_project.run("git", "checkout", "--quiet", ".")
    (finished_project.path / "notes.md").unlink()
    found = made_again(finished_project, "2")
    tags = MlflowClient(finished_project.tracking_uri).get_model_version(MODEL, "2").tags
    assert (Answer.YES, {tags["git.diff_sha256"]}) == (found.answer, found_for(found, "changes to it")), found
    assert "true" == tags["git.dirty"]


def test_data_of_another_commit(finished_project: ProjectCopy, made_again: Callable[..., Verdict]) -> None:
    """Where one commit made the data and another the model, each does its part again, in a worktree of its own."""
    parameters = finished_project.path / "conf/test/parameters_training.yml"
    parameters.write_text(parameters.read_text(encoding="utf-8").replace("n_estimators: 20", "n_estimators: 5"))
    finished_project.commit()
    finished_project.run("kedro", "run", "--env", "test", "--pipelines", "training")
    found = made_again(finished_project, "2")
    assert (Answer.YES, 2) == (found.answer, len(found_for(found, "commit"))), found


def _fails(place: Place, python: str | None) -> None:
    place.call("git", "nonsense", variables=place.variables())


class TestCannotDecide:
    """What cannot be made again is neither equal nor different."""

    def test_changes_that_were_not_kept(self, finished_project: ProjectCopy) -> None:
        """Large uncommitted changes are not kept: the commit alone is not what was run."""
        (finished_project.path / "large.bin").write_bytes(bytes(1_000_001))
        finished_project.run("kedro", "run", "--env", "test", "--pipelines", "data_engineering,training")
        (finished_project.path / "large.bin").unlink()
        said = asked(finished_project, "2", code=2)
        assert "cannot decide" == said["answer"]
        assert "uncommitted changes" in said["explanation"]
        assert "larger than 1,000,000 bytes" in said["explanation"]

    def test_a_commit_that_is_not_here(self, finished_project: ProjectCopy) -> None:
        """A clone without the commit says how to get it."""
        finished_project.run("git", "checkout", "--quiet", "--orphan", "another")
        finished_project.run("git", "commit", "--quiet", "--message", "Another history")
        for branch in finished_project.run("git", "branch", "--format=%(refname:short)").stdout.split():
            if branch != "another":
                finished_project.run("git", "branch", "--quiet", "-D", branch)
        finished_project.run("git", "reflog", "expire", "--expire=now", "--all")
        finished_project.run("git", "gc", "--quiet", "--prune=now")
        said = asked(finished_project, "1", "--no-record", code=2)
        assert "is not in this repository. Fetch it (`git fetch --all`)" in said["explanation"]
        assert "reproduced" not in MlflowClient(finished_project.tracking_uri).get_model_version(MODEL, "1").tags

    @pytest.mark.parametrize("file", ["provenance.json", "changes.patch"])
    def test_a_folder_that_was_changed(self, finished_project: ProjectCopy, file: str) -> None:
        """What nobody trusted has signed names code that is not run: the answer comes before anything is built."""
        (folder,) = finished_project.results.glob("mlruns/models/*/artifacts")
        (folder / file).write_bytes(b"{}")
        said = asked(finished_project, "1", code=2)
        assert "is refused: it is not what was signed" in said["error"]
        assert not (finished_project.path / "build/reproduce").exists()
        assert "reproduced" not in MlflowClient(finished_project.tracking_uri).get_model_version(MODEL, "1").tags

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            (("--on", "nowhere"), "The environment 'nowhere' has no store to write to. Allowed: base, minio."),
            (("--python", "nowhere/python"), "nowhere/python cannot be run: No such file or directory."),
        ],
    )
    def test_options_that_name_nothing(
        self, finished_project: ProjectCopy, options: tuple[str, str], reason: str
    ) -> None:
        """An environment without a store, and an interpreter that is not there, are named; nothing is left."""
        assert reason in asked(finished_project, "1", *options, code=2)["explanation"]
        assert [] == list((finished_project.path / "build/reproduce").iterdir())
        assert 1 == len(finished_project.run("git", "worktree", "list").stdout.splitlines())

    def test_a_run_that_is_ended(self, finished_project: ProjectCopy) -> None:
        """SIGTERM ends a reproduction with its commands, and leaves nothing behind."""
        process = finished_project.start("kedro", "model", "reproduce", "1", "--env", "test")
        for line in process.stderr:
            if line.startswith("building"):
                break
        process.terminate()
        result = finished(process)
        assert (2, True) == (result.returncode, "Aborted!" in result.stderr)
        assert [] == list((finished_project.path / "build/reproduce").iterdir())
        assert 1 == len(finished_project.run("git", "worktree", "list").stdout.splitlines())

    def test_a_run_that_fails(self, project_of_controls: ProjectCopy, monkeypatch: pytest.MonkeyPatch) -> None:
        """The last words of the command that failed are in the explanation, and nothing is left behind."""
        with reproduction(project_of_controls, "1") as job:
            monkeypatch.setattr(virtual_environment, "build", _fails)
            found = job.reproduce(keep=False)
        assert Answer.CANNOT == found.answer
        assert "`git nonsense …` failed: git: 'nonsense' is not a git command" in found.explanation
        assert not job.root.exists()

    def test_a_worktree_is_kept_when_asked(
        self, project_of_controls: ProjectCopy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """--keep leaves the worktree where it says."""
        with reproduction(project_of_controls, "1") as job:
            monkeypatch.setattr(virtual_environment, "build", _fails)
            job.reproduce(keep=True)
            kept = (job.root / "run/src/ml_lifecycle/cli.py").exists()
            job.clean_up()
        assert kept
        assert not Path(job.root).exists()
