"""A copy of the project, as a clone would have it, in which the tests run the real tools."""

import contextlib
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import yaml
from click.testing import CliRunner, Result
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

import kedro_process

MODEL = "flight_delay"
PROJECT = Path(__file__).parents[1]
DATABASE = "mlflow-test.db"
PLACES = {  # where MLflow keeps absolute paths
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}


def environment(project: Path) -> dict[str, str]:
    """Build the environment of a command: the copy's package, the same interpreter, nothing of the user's."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MLFLOW_", "MODEL_"))},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(project / "src"),
        "DVC_SITE_CACHE_DIR": str(project.parent / f"{project.name}-dvc"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{role}_NAME": "Test" for role in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{role}_EMAIL": "test@example.org" for role in ("AUTHOR", "COMMITTER")},
    }


def _move_artifacts(database: Path, old: Path, new: Path) -> None:
    with sqlite3.connect(database) as connection:
        for table, column in PLACES.items():
            connection.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)",  # noqa: S608  # names from PLACES
                (f"{old}/", f"{new}/"),
            )
    connection.close()


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    nested = {key: _merged(below[key], value) for key, value in above.items() if isinstance(below.get(key), dict)}
    return {**below, **above, **nested}


@dataclass(frozen=True)
class ProjectCopy:
    """A copy of the project in a temporary folder, with a Git repository of its own."""

    path: Path

    @classmethod
    def of_clone(cls, path: Path) -> "ProjectCopy":
        """Copy what a commit of everything would hold, and commit it."""
        listed = subprocess.check_output(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=PROJECT, text=True
        )
        for name in filter(None, listed.split("\0")):
            if (PROJECT / name).is_file():
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(PROJECT / name, path / name)
        copy = cls(path)
        copy.run("git", "init", "--quiet")
        copy.commit()
        imported = copy.run("python", "-c", "import ml_lifecycle; print(ml_lifecycle.__file__)").stdout.strip()
        assert str(path / "src/ml_lifecycle/__init__.py") == imported
        return copy

    def start(self, *command: str, **variables: str) -> "subprocess.Popen[str]":
        """Start a command in the copy."""
        return subprocess.Popen(
            command,
            cwd=self.path,
            env={**environment(self.path), **variables},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *command: str, check: bool = True, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in the copy; Kedro's in a process that has its libraries already."""
        if command[0] == "kedro":
            result = kedro_process.run(command, self.path, {**environment(self.path), **variables})
        else:
            result = finished(self.start(*command, **variables))
        if check:
            assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
        return result

    def commit(self) -> None:
        """Commit everything that is not ignored."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "Change")

    def make_small(self) -> None:
        """Let the environment `base` work on the sample, with the small models of `test`, and commit that."""
        for name, keep in (("globals.yml", {"raw"}), ("parameters_training.yml", None)):
            base, test = (self.path / "conf" / environment / name for environment in ("base", "test"))
            values = yaml.safe_load(test.read_text(encoding="utf-8"))
            small = {"paths": {key: values["paths"][key] for key in keep}} if keep else values
            merged = _merged(yaml.safe_load(base.read_text(encoding="utf-8")), small)
            base.write_text(yaml.safe_dump(merged), encoding="utf-8")
        self.commit()

    def clone(self, path: Path) -> "ProjectCopy":
        """Copy everything, results included; MLflow's absolute paths move along."""
        shutil.copytree(self.path, path, symlinks=True)
        if (path / DATABASE).exists():
            _move_artifacts(path / DATABASE, self.path, path)
        return ProjectCopy(path)

    @property
    def results(self) -> Path:
        """Where the environment `test` keeps what a run makes."""
        return self.path / "build/test"

    @property
    def tracking_uri(self) -> str:
        """Where the environment `test` keeps runs and models."""
        return f"sqlite:///{self.path / DATABASE}"


def finished(process: "subprocess.Popen[str]") -> "subprocess.CompletedProcess[str]":
    """Wait for a command and take what it printed."""
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@dataclass(frozen=True)
class Lifecycle:
    """A finished `kedro run --env test`; read only."""

    project: ProjectCopy
    result: "subprocess.CompletedProcess[str]"
    client: MlflowClient

    @property
    def run(self) -> Run:
        """The only MLflow run."""
        (run,) = self.client.search_runs([self.client.get_experiment_by_name(MODEL).experiment_id])
        return run

    @property
    def version(self) -> ModelVersion:
        """The only registered version."""
        (version,) = self.client.search_model_versions(f"name = '{MODEL}'")
        return version

    @property
    def model_folder(self) -> Path:
        """Where the artifact store keeps the registered model."""
        (folder,) = self.project.results.glob("mlruns/models/*/artifacts")
        return folder


@contextlib.contextmanager
def inside(project: ProjectCopy) -> Iterator[None]:
    """Work in the copy inside this process, and leave no trace in it."""
    variables, folder, path = dict(os.environ), Path.cwd(), list(sys.path)
    handlers, level = list(logging.root.handlers), logging.root.level
    os.environ.update(environment(project.path))
    os.chdir(project.path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of third parties; `kedro run` shows none of them, which is tested
            yield
    finally:
        while mlflow.active_run():
            mlflow.end_run()
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(variables)
        sys.path[:] = path
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)


KedroRun = Callable[..., Result]


def run_kedro(project: ProjectCopy, *arguments: str) -> Result:
    """Run `kedro run --env test …` inside this process, which is in the copy."""
    from kedro.framework.startup import bootstrap_project

    from ml_lifecycle import cli

    bootstrap_project(project.path)
    return CliRunner().invoke(cli.run, ["--env", "test", *arguments])
