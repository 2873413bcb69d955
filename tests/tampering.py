"""Changes that somebody could make to a version, its run, its history or its data behind everybody's back.

A `Site` hides where things lie: in folders or in buckets. Each tampering says which links of the audit it breaks.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import yaml
from click.testing import CliRunner, Result
from fsspec.implementations.local import LocalFileSystem
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from ml_lifecycle import cli, model_commands
from ml_lifecycle.provenance.record import digest_of_parameters
from ml_lifecycle.signing import signature
from ml_lifecycle.signing.keys import PRIVATE, make_pair
from project_copy import DATABASE, MODEL, ProjectCopy, inside
from servers import Stack, Workplace

OLDER = "1"
RECORD = "provenance.json"
LOCK = "requirements/run.txt"
STAGE = "conf/test/dvc.yaml:raw_sample"
#: Words that the lines of the broken links hold: what was expected, and what was found.
Said = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Report:
    """What an audit said: its exit code, and of each link its state and its line."""

    code: int
    states: dict[str, str]
    details: dict[str, str]

    @property
    def broken(self) -> set[str]:
        """The links that do not hold."""
        return {link for link, state in self.states.items() if state == "broken"}

    def untold(self, said: Said) -> list[str]:
        """Name what the lines of the broken links do not tell."""
        wanted = [(link, word) for link in self.broken for word in ("expected", "found", *said.get(link, ()))]
        return [f"{link}: {word}" for link, word in wanted if word not in self.details[link]]

    @classmethod
    def of(cls, code: int, said: str) -> "Report":
        """Read what `--json` printed."""
        links = json.loads(said)["links"]
        states, details = ({link["link"]: link[key] for link in links} for key in ("state", "detail"))
        return cls(code, states, details)


@dataclass(frozen=True)
class Site:
    """A project with two versions, and all that the audit of the second one reads.

    Attributes:
        project: the clone.
        environment: of Kedro.
        audited: number of the second version.
        tracking_uri: of MLflow.
        database: SQLite, behind MLflow.
        files: opens the following.
        artifacts: of the experiment.
        history: of the model's aliases.
        remote: of DVC.
        keys: a folder with the pair that signed.
        variables: of the shell.
    """

    project: ProjectCopy
    environment: str
    audited: str
    tracking_uri: str
    database: Path
    files: fsspec.AbstractFileSystem
    artifacts: str
    history: str
    remote: str
    keys: Path
    variables: dict[str, str] = field(default_factory=dict, repr=False)
    _before: dict[str, bytes | None] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def on_files(cls, project: ProjectCopy) -> "Site":
        """The environment `test`, with a folder beside the project as DVC's remote."""
        remote = project.path.parent / "remote"
        project.run("dvc", "remote", "add", "--quiet", "--local", "--default", "folder", str(remote))
        runs = project.results / "mlruns"
        return cls(
            project=project,
            environment="test",
            audited="2",
            tracking_uri=project.tracking_uri,
            database=project.path / DATABASE,
            files=LocalFileSystem(auto_mkdir=True),
            artifacts=str(runs),
            history=str(runs / "history" / MODEL),
            remote=str(remote),
            keys=project.path / ".keys",
        )

    @classmethod
    def on_servers(cls, workplace: Workplace, stack: Stack) -> "Site":
        """The environment `minio`, whose registry may hold more versions than the first."""
        found = MlflowClient(stack.tracking_uri, stack.tracking_uri).search_model_versions(f"name = '{MODEL}'")
        return cls(
            project=workplace.project,
            environment="minio",
            audited=str(max(int(version.version) for version in found) + 1),
            tracking_uri=stack.tracking_uri,
            database=stack.folder / "tracking.db",
            files=stack.store.files(),
            artifacts="mlflow/1",
            history=f"ml-data/registry/{MODEL}",
            remote="dvc",
            keys=stack.keys,
            variables=workplace.variables,
        )

    def kedro(self, command: Any, *arguments: str) -> Result:
        """Run a command of Kedro's inside this process."""
        from kedro.framework.startup import bootstrap_project

        with inside(self.project):
            os.environ.update(self.variables)
            bootstrap_project(self.project.path)
            return CliRunner().invoke(command, [*arguments, "--env", self.environment])

    def prepare(self) -> "Site":
        """Push the data; make and promote a second version, from another commit with another lock and parameter.

        A third commit has the lock and the parameters of the second.
        """
        self.project.run("dvc", "push", "--quiet", STAGE, **self.variables)
        with (self.project.path / LOCK).open("a", encoding="utf-8") as lock:
            lock.write("# Another lock.\n")
        folder = "test" if self.environment == "test" else "base"
        parameters = self.project.path / "conf" / folder / "parameters_training.yml"
        values = yaml.safe_load(parameters.read_text(encoding="utf-8"))
        values["model"]["random_forest"]["n_estimators"] = 10
        values["baseline"]["max_iter"] = 2
        parameters.write_text(yaml.safe_dump(values), encoding="utf-8")
        self.project.commit()
        trained = self.kedro(cli.run, "--pipelines", "training")
        assert trained.exit_code == 0, trained.stderr
        promoted = self.kedro(
            model_commands.model, "promote", self.audited, "--to", "staging", "--force", "--reason", "to be audited"
        )
        assert promoted.exit_code == 0, promoted.output
        with (self.project.path / "README.md").open("a", encoding="utf-8") as readme:
            readme.write("Another line.\n")
        self.project.commit()
        return self

    def audit(self, *options: str) -> Report:
        """Audit the second version."""
        result = self.kedro(model_commands.model, "audit", self.audited, "--json", *options)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return Report.of(result.exit_code, result.stdout)

    @contextlib.contextmanager
    def undoing(self, *folders: str) -> Iterator[None]:
        """Undo what is changed meanwhile: in the database, by `write` and `remove`, and by anybody in these folders."""
        there = {path: self.read(path) for folder in folders for path in self.listed(folder)}
        with contextlib.closing(sqlite3.connect(":memory:")) as before:
            with contextlib.closing(sqlite3.connect(self.database)) as database:
                database.backup(before)
            try:
                yield
            finally:
                with contextlib.closing(sqlite3.connect(self.database)) as database:
                    before.backup(database)
                new = {path for folder in folders for path in self.listed(folder)} - set(there)
                for path, content in {**there, **self._before, **dict.fromkeys(new)}.items():
                    self._put(path, content)
                self._before.clear()

    def read(self, path: str) -> bytes:
        """Read a file."""
        return bytes(self.files.cat_file(path))

    def write(self, path: str, content: bytes) -> None:
        """Write a file."""
        self._keep(path)
        self._put(path, content)

    def remove(self, path: str) -> None:
        """Remove a file."""
        self._keep(path)
        self._put(path, None)

    def _keep(self, path: str) -> None:
        self._before.setdefault(path, self.read(path) if self.files.exists(path) else None)

    def _put(self, path: str, content: bytes | None) -> None:
        if self.files.exists(path):
            if content is not None and self.read(path) == content:
                return
            self.files.rm_file(path)  # DVC's are read-only
        if content is not None:
            self.files.pipe_file(path, content)

    def listed(self, folder: str) -> list[str]:
        """List the files below a folder."""
        return sorted(self.files.find(folder))

    def sql(self, statement: str, *values: Any) -> None:
        """Change one row or more of the database, where MLflow itself would refuse."""
        with contextlib.closing(sqlite3.connect(self.database, timeout=30)) as database, database:
            changed = database.execute(statement, values).rowcount
        assert changed > 0, statement

    @property
    def client(self) -> MlflowClient:
        """MLflow as everybody may use it."""
        return MlflowClient(self.tracking_uri, self.tracking_uri)

    def version(self, number: str | None = None) -> ModelVersion:
        """What the registry says of a version."""
        return self.client.get_model_version(MODEL, number or self.audited)

    def folder(self, number: str | None = None) -> str:
        """Where the artifacts of a version lie."""
        return f"{self.artifacts}/models/{self.version(number).source.removeprefix('models:/')}/artifacts"

    @property
    def of_run(self) -> str:
        """Where the artifacts of the run lie that made the version."""
        return f"{self.artifacts}/{self.version().run_id}/artifacts"

    @property
    def decision(self) -> str:
        """The file with the decision about the version."""
        (found,) = [path for path in self.listed(f"{self.of_run}/records") if "/decision-" in path]
        return found

    @property
    def moves(self) -> list[str]:
        """The files of the moves of @staging."""
        return [path for path in self.listed(f"{self.history}/staging") if path.endswith(".json")]

    def raw(self, table: str) -> str:
        """The copy of a raw table in DVC's remote."""
        md5 = self.version().tags[f"dvc.{table}"]
        return f"{self.remote}/files/md5/{md5[:2]}/{md5[2:]}"

    def sign(self, keys: Path) -> None:
        """Sign the version again."""
        folder = self.folder()
        with tempfile.TemporaryDirectory() as name:
            for path in self.listed(folder):
                (Path(name) / path.removeprefix(f"{folder}/")).write_bytes(self.read(path))
            signature.sign(Path(name), keys / PRIVATE)
            self.write(f"{folder}/{signature.SIGNATURE}", (Path(name) / signature.SIGNATURE).read_bytes())

    def forge(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the record, and sign it with the right key."""
        path = f"{self.folder()}/{RECORD}"
        statement = json.loads(self.read(path))
        change(statement)
        self.write(path, json.dumps(statement, indent=2).encode())
        self.sign(self.keys)

    def tag_version(self, key: str, value: str) -> None:
        """Change a tag of the version."""
        statement = "UPDATE model_version_tags SET value = ? WHERE name = ? AND version = ? AND key = ?"
        self.sql(statement, value, MODEL, self.audited, key)

    def tag_run(self, key: str, value: str) -> None:
        """Change a tag of its run."""
        self.sql("UPDATE tags SET value = ? WHERE run_uuid = ? AND key = ?", value, self.version().run_id, key)


@dataclass(frozen=True)
class Tampering:
    """A change, and the links that it breaks.

    Attributes:
        make: makes it.
        broken: the links.
        deep: only who reads every byte of the raw data sees it.
        variant: of another one, and the same on files and on servers: made on files only.
    """

    make: Callable[[Site], Said]
    broken: set[str]
    deep: bool = False
    variant: bool = False

    def __str__(self) -> str:
        """Its name."""
        return self.make.__name__


TAMPERINGS: list[Tampering] = []
#: Of a version whose data another commit made.
LINKS = [
    *("signature", "model", "record", "registry", "run", "parameters", "metrics"),
    *("commit (data)", "lock (data)", "configuration (data)", "data versions", "commit", "lock", "configuration"),
    *("raw data", "probe", "@staging", "@production", "decisions"),
]
UNSEEN: list[Callable[[Site], None]] = []


def _breaks(
    *links: str, deep: bool = False, variant: bool = False
) -> Callable[[Callable[[Site], Said]], Callable[[Site], Said]]:
    def listed(make: Callable[[Site], Said]) -> Callable[[Site], Said]:
        TAMPERINGS.append(Tampering(make, set(links), deep, variant))
        return make

    return listed


def _unseen(make: Callable[[Site], None]) -> Callable[[Site], None]:
    UNSEEN.append(make)
    return make


def sha256(content: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def other_byte(content: bytes, where: int) -> bytes:
    """The same number of bytes, one of which is another."""
    return content[:where] + bytes([content[where] ^ 1]) + content[where + 1 :]


def other_threshold(model: bytes) -> bytes:
    """A model in which one digit of the threshold is another."""
    return other_byte(model, model.index(b"0.", model.index(b"ml_lifecycle.threshold")) + len("0."))


# A byte of the model


@_breaks("signature", "model")
def a_byte_of_the_model(site: Site) -> Said:
    """One digit of the threshold: the probabilities stay the same, the decisions do not."""
    path = f"{site.folder()}/model.onnx"
    before = site.read(path)
    after = other_threshold(before)
    site.write(path, after)
    return {"signature": ("model.onnx",), "model": (sha256(before), sha256(after))}


@_breaks("signature", "model", variant=True)
def the_model_of_the_older_version(site: Site) -> Said:
    """The bytes of another model, which is a good one, and which is not run."""
    path = f"{site.folder()}/model.onnx"
    before, after = site.read(path), site.read(f"{site.folder(OLDER)}/model.onnx")
    site.write(path, after)
    return {"signature": ("model.onnx",), "model": (sha256(before), sha256(after))}


@_breaks("model", "probe", variant=True)
def the_model_of_the_older_version_that_is_signed(site: Site) -> Said:
    """With a trusted key: then it is run, and answers as another model does."""
    told = the_model_of_the_older_version(site)
    site.sign(site.keys)
    recorded, answered = (site.version(number).tags["probe_sha256"] for number in (None, OLDER))
    return {"model": told["model"], "probe": ("recomputed answers", recorded, answered)}


# A byte of the record


@_breaks("signature")
def a_byte_of_the_record(site: Site) -> Said:
    """The second at which the run started."""
    path = f"{site.folder()}/{RECORD}"
    before = site.read(path)
    site.write(path, re.sub(rb'("startedOn": ".{18})(.)', lambda hit: hit[1] + b"98"[hit[2] == b"9" :][:1], before))
    return {"signature": (RECORD,)}


@_breaks("signature", "record", variant=True)
def a_record_that_cannot_be_read(site: Site) -> Said:
    """A byte that is no text."""
    path = f"{site.folder()}/{RECORD}"
    site.write(path, b"\xff" + site.read(path)[1:])
    return {"record": ("cannot be read",)}


# A byte of a raw file


@_breaks("raw data", deep=True)
def a_byte_of_a_raw_file_in_the_remote(site: Site) -> Said:
    """Of the same size: only who reads it sees it."""
    path = site.raw("weather")
    before = site.read(path)
    after = other_byte(before, len(before) // 2)
    site.write(path, after)
    digests = (hashlib.md5(content, usedforsecurity=False).hexdigest() for content in (before, after))
    return {"raw data": ("'weather' in the remote", *digests)}


@_breaks("raw data", variant=True)
def a_raw_file_in_the_remote_cut_short(site: Site) -> Said:
    """The last byte is missing."""
    before = site.read(site.raw("weather"))
    site.write(site.raw("weather"), before[:-1])
    return {"raw data": ("'weather' in the remote", f"expected {len(before)} bytes", f"found {len(before) - 1}")}


# A parameter, a metric, another run


@_breaks("parameters")
def a_parameter(site: Site) -> Said:
    """In MLflow's database; its interface refuses."""
    statement = "UPDATE params SET value = replace(value, ?, ?) WHERE run_uuid = ? AND key = 'model'"
    site.sql(statement, '"n_estimators":10', '"n_estimators":500', site.version().run_id)
    return {"parameters": ("model.random_forest.n_estimators: expected 10, found 500",)}


@_breaks("metrics")
def a_metric(site: Site) -> Said:
    """A better figure."""
    run = site.version().run_id
    before = site.client.get_run(run).data.metrics["judge.roc_auc"]
    site.sql("UPDATE metrics SET value = 0.99 WHERE run_uuid = ? AND key = 'judge.roc_auc'", run)
    site.sql("UPDATE latest_metrics SET value = 0.99 WHERE run_uuid = ? AND key = 'judge.roc_auc'", run)
    return {"metrics": (f"judge.roc_auc: expected {before}, found 0.99",)}


@_breaks("metrics", variant=True)
def a_metric_that_the_record_vouches_for(site: Site) -> Said:
    """A better figure in the evaluation, whose digest is in the record, which is signed with the right key."""
    path = f"{site.folder()}/evaluation.json"
    content = json.loads(site.read(path))
    before = content["model"]["roc_auc"]["value"]
    content["model"]["roc_auc"]["value"] = 0.99
    site.write(path, json.dumps(content).encode())
    site.forge(lambda statement: record_files(statement, {"evaluation.json": site.read(path)}))
    return {"metrics": (f"judge.roc_auc: expected 0.99, found {before}",)}


@_breaks("run", "parameters", "metrics")
def a_deleted_run(site: Site) -> Said:
    """Somebody deletes the run that made it, as MLflow's pages let him."""
    run = site.version().run_id
    site.client.delete_run(run)
    return {"run": (f"the run {run} is deleted",)}


@_breaks("run", "parameters", "metrics", "decisions")
def a_run_that_is_not_there(site: Site) -> Said:
    """The version names a run that never was."""
    site.sql("UPDATE model_versions SET run_id = ? WHERE version = ?", "0" * 32, site.audited)
    return {"run": (f"the run {'0' * 32} is gone",), "decisions": ("0" * 32, "is gone")}


@_breaks("run", "parameters", "metrics", "decisions", variant=True)
def a_version_without_a_run(site: Site) -> Said:
    """The version names none."""
    site.sql("UPDATE model_versions SET run_id = NULL WHERE version = ?", site.audited)
    return {"decisions": ("expected the run that made it, found nothing",)}


@_breaks("run", "parameters", "metrics", "decisions", variant=True)
def the_run_of_the_older_version(site: Site) -> Said:
    """The version names another run, which is a good one."""
    older = site.version(OLDER).run_id
    commits = [site.version(number).tags["git.commit"] for number in (None, OLDER)]
    site.sql("UPDATE model_versions SET run_id = ? WHERE version = ?", older, site.audited)
    return {"run": (older, f"git.commit: expected {commits[0]}, found {commits[1]}")}


# A swapped alias


@_breaks("@production")
def a_swapped_alias(site: Site) -> Said:
    """The alias points to the version with MLflow's own means, so its history tells nothing of it."""
    before = site.client.get_model_version_by_alias(MODEL, "production").version
    site.client.set_registered_model_alias(MODEL, "production", site.audited)
    return {"@production": (f"expected version {before}, found version {site.audited}",)}


@_breaks("@staging")
def an_edited_history(site: Site) -> Said:
    """The first move says that somebody else made it."""
    first = site.moves[0]
    before = site.read(first)
    site.write(first, re.sub(rb'"by": "[^"]*"', b'"by": "nobody"', before))
    return {"@staging": ("between the moves 1 and 2", sha256(before), sha256(site.read(first)))}


@_breaks("decisions", variant=True)
def an_edited_newest_move(site: Site) -> Said:
    """It was not forced, says the history now; the decision knows better."""
    newest = site.moves[-1]
    site.write(newest, site.read(newest).replace(b'"forced": true', b'"forced": false'))
    return {"decisions": ("forced of move", "expected True, as decided, found False")}


@_breaks("@staging", variant=True)
def a_history_that_cannot_be_read(site: Site) -> Said:
    """The newest move is no move any more."""
    newest = site.moves[-1]
    site.write(newest, b"\xff")
    return {"@staging": (newest.rpartition("/")[2], "expected a history that is whole, found", "cannot be read")}


# Another lock, another commit


def set_lock(statement: dict[str, Any], digest: str) -> None:
    """Let a record name another lock, in both places."""
    predicate = statement["predicate"]
    predicate["mlLifecycle_details"]["environment"]["lock_sha256"] = digest
    for resource in predicate["buildDefinition"]["resolvedDependencies"]:
        if resource["name"] == LOCK:
            resource["digest"]["sha256"] = digest


def set_commit(statement: dict[str, Any], commit: str) -> None:
    """Let a record name another commit, in both places."""
    predicate = statement["predicate"]
    predicate["mlLifecycle_details"]["git"]["commit"] = commit
    for resource in predicate["buildDefinition"]["resolvedDependencies"]:
        if resource["name"] == "code":
            resource["digest"]["gitCommit"] = commit


def record_files(statement: dict[str, Any], files: Mapping[str, bytes]) -> None:
    """Let a record name other files beside the model."""
    for resource in statement["predicate"]["runDetails"]["byproducts"]:
        if resource["name"] in files:
            resource["digest"]["sha256"] = sha256(files[resource["name"]])


def _both(site: Site, tag: str) -> tuple[str, str]:
    """What the audited version has as a tag, and what the older one has."""
    audited, older = (str(site.version(number).tags[tag]) for number in (None, OLDER))
    assert audited != older
    return audited, older


@_breaks("registry", variant=True)
def another_lock_in_the_registry(site: Site) -> Said:
    """The tag of the version."""
    before, after = _both(site, "lock_sha256")
    site.tag_version("lock_sha256", after)
    return {"registry": (f"lock_sha256: expected {before}, found {after}",)}


@_breaks("registry", "run", "lock")
def another_lock_in_the_record(site: Site) -> Said:
    """Signed with the right key."""
    before, after = _both(site, "lock_sha256")
    site.forge(lambda statement: set_lock(statement, after))
    told = f"expected {after}, found {before}"
    return {"registry": (f"lock_sha256: {told}",), "run": (f"lock_sha256: {told}",), "lock": (told,)}


@_breaks("lock")
def another_lock_everywhere(site: Site) -> Said:
    """Signed with the right key, and the tags of version and run fit."""
    told = another_lock_in_the_record(site)
    _, after = _both(site, "lock_sha256")
    site.tag_version("lock_sha256", after)
    site.tag_run("lock_sha256", after)
    return {"lock": told["lock"]}


@_breaks("registry", variant=True)
def another_commit_in_the_registry(site: Site) -> Said:
    """The tag of the version."""
    before, after = _both(site, "git.commit")
    site.tag_version("git.commit", after)
    return {"registry": (f"git.commit: expected {before}, found {after}",)}


@_breaks("run", variant=True)
def another_commit_in_the_run(site: Site) -> Said:
    """The tags of the run; so many that it might be a run that only registers."""
    before, after = _both(site, "git.commit")
    site.tag_run("git.commit", after)
    site.tag_run("kedro.pipelines", "__default__")
    return {"run": (f"git.commit: expected {before}, found {after}", "expected training, found __default__")}


@_breaks("registry", "run", "lock", "configuration")
def another_commit_in_the_record(site: Site) -> Said:
    """That of the older version, which is in the repository; signed with the right key."""
    before, after = _both(site, "git.commit")
    locks = _both(site, "lock_sha256")
    site.forge(lambda statement: set_commit(statement, after))
    told = f"git.commit: expected {after}, found {before}"
    return {
        "registry": (told,),
        "run": (told,),
        "lock": (f"expected {locks[0]}, found {locks[1]}",),
        "configuration": ("model.random_forest.n_estimators: expected 10, found 20",),
    }


@_breaks("lock", "configuration")
def another_commit_everywhere(site: Site) -> Said:
    """Signed with the right key, and the tags of version and run fit."""
    told = another_commit_in_the_record(site)
    _, after = _both(site, "git.commit")
    site.tag_version("git.commit", after)
    site.tag_run("git.commit", after)
    return {"lock": told["lock"], "configuration": told["configuration"]}


@_breaks("commit", variant=True)
def a_commit_that_is_nowhere(site: Site) -> Said:
    """Signed with the right key, and the tags of version and run fit."""
    nowhere = "c0ffee" * 6 + "c0de"
    site.forge(lambda statement: set_commit(statement, nowhere))
    site.tag_version("git.commit", nowhere)
    site.tag_run("git.commit", nowhere)
    return {"commit": (f"expected commit {nowhere}", "found none")}


@_breaks("commit", variant=True)
def a_branch_as_commit(site: Site) -> Said:
    """A name that means another commit tomorrow; signed with the right key, and the tags of version and run fit."""
    site.forge(lambda statement: set_commit(statement, "HEAD"))
    site.tag_version("git.commit", "HEAD")
    site.tag_run("git.commit", "HEAD")
    return {"commit": ("expected the full name of a commit, found HEAD",)}


@_breaks("configuration", variant=True)
def another_parameter_everywhere(site: Site) -> Said:
    """Signed with the right key, and the tags of version and run, and the parameters of the run fit."""

    def change(statement: dict[str, Any]) -> None:
        parameters = statement["predicate"]["buildDefinition"]["externalParameters"]["parameters"]
        parameters["model"]["random_forest"]["n_estimators"] = 500
        digest = digest_of_parameters(parameters)
        statement["predicate"]["mlLifecycle_details"]["parameters_sha256"] = digest
        site.tag_version("parameters_sha256", digest)
        site.tag_run("parameters_sha256", digest)

    a_parameter(site)
    site.forge(change)
    return {"configuration": ("model.random_forest.n_estimators: expected 500, found 10",)}


@_breaks("registry", variant=True)
def a_raw_table_fewer(site: Site) -> Said:
    """The record does not name one of the raw tables any more; signed with the right key."""

    def change(statement: dict[str, Any]) -> None:
        definition = statement["predicate"]["buildDefinition"]
        kept = [resource for resource in definition["resolvedDependencies"] if resource["name"] != "weather"]
        definition["resolvedDependencies"] = kept

    site.forge(change)
    return {"registry": (f"dvc.weather: expected nothing, found {site.version().tags['dvc.weather']}",)}


@_breaks("registry", "data versions", variant=True)
def another_raw_table(site: Site) -> Said:
    """The record names another raw table, which the remote holds as well; signed with the right key."""
    tags = site.version().tags
    md5 = tags["dvc.airports"]
    size = len(site.read(site.raw("airports")))

    def change(statement: dict[str, Any]) -> None:
        for resource in statement["predicate"]["buildDefinition"]["resolvedDependencies"]:
            if resource["name"] == "weather":
                resource.update(digest={"md5": md5}, annotations={"size": size})

    site.forge(change)
    told = f"expected {md5}, found {tags['dvc.weather']}"
    return {"registry": (f"dvc.weather: {told}",), "data versions": ("'weather'", told)}


# A removed artifact


@_breaks("signature", "model")
def a_removed_model(site: Site) -> Said:
    """The rest of its folder is there."""
    site.remove(f"{site.folder()}/model.onnx")
    return {"signature": ("model.onnx",), "model": ("expected model.onnx in the artifact store, found none",)}


@_breaks("signature", "record", "probe")
def a_removed_probe_set(site: Site) -> Said:
    """A file beside the model."""
    site.remove(f"{site.folder()}/probe_set.parquet")
    return {
        "signature": ("probe_set.parquet",),
        "record": ("expected probe_set.parquet in the artifact store, found none",),
        "probe": ("holds no probe_set.parquet",),
    }


@_breaks("signature", "record", variant=True)
def a_removed_record(site: Site) -> Said:
    """Then little else can be checked."""
    site.remove(f"{site.folder()}/{RECORD}")
    return {"record": (f"expected {RECORD} in the artifact store, found none",)}


@_breaks("signature", variant=True)
def a_removed_signature(site: Site) -> Said:
    """As if it had never been signed."""
    site.remove(f"{site.folder()}/{signature.SIGNATURE}")
    return {"signature": ("it is not signed",)}


@_breaks("model")
def a_removed_folder(site: Site) -> Said:
    """Nothing of the version is left."""
    folder = site.folder()
    for path in site.listed(folder):
        site.remove(path)
    if site.files.exists(folder):  # on files, not in buckets
        site.files.rmdir(folder)
    return {"model": ("expected its folder in the artifact store", "found")}


@_breaks("model", variant=True)
def another_place(site: Site) -> Said:
    """The registry names another folder, which is not there."""
    place = "UPDATE model_versions SET storage_location = storage_location || '/nowhere' WHERE version = ?"
    site.sql(place, site.audited)
    return {"model": ("expected its folder in the artifact store", "found")}


@_breaks("signature")
def an_added_file(site: Site) -> Said:
    """Code that somebody might run."""
    site.write(f"{site.folder()}/loader.py", b"print('hello')")
    return {"signature": ("loader.py",)}


# Another key


@_breaks("signature")
def another_key(site: Site) -> Said:
    """Everything is as it was, but signed by somebody else."""
    with tempfile.TemporaryDirectory() as name:
        make_pair(Path(name))
        site.sign(Path(name))
    return {"signature": ("signed by a key that is not trusted",)}


@_breaks("signature", "@staging", variant=True)
def another_model_with_another_key(site: Site) -> Said:
    """The folder of the older version, changed and signed by somebody else; everything else in MLflow fits it."""
    the_folder_of_the_older_version(site)
    model = f"{site.folder()}/model.onnx"
    content = site.read(model)
    site.write(model, other_threshold(content))
    changed = sha256(site.read(model))

    def change(statement: dict[str, Any]) -> None:
        statement["subject"][0]["digest"]["sha256"] = changed

    site.forge(change)
    before = site.version().tags["model_sha256"]
    _like_the_older_version(site)
    site.tag_version("model_sha256", changed)
    told = another_key(site)
    return {**told, "@staging": (f"expected {before}, found {changed}",)}


# An edited probe set


def _edit_probe_set(site: Site) -> bytes:
    """Change an answer by a hair."""
    path = f"{site.folder()}/probe_set.parquet"
    probe = pd.read_parquet(io.BytesIO(site.read(path)))
    probe.loc[0, "probability"] += 1e-6
    site.write(path, probe.to_parquet(index=False))
    return site.read(path)


@_breaks("signature", "record", "probe")
def an_edited_probe_set(site: Site) -> Said:
    """An answer of the model is another."""
    before = sha256(site.read(f"{site.folder()}/probe_set.parquet"))
    after = sha256(_edit_probe_set(site))
    return {
        "signature": ("probe_set.parquet",),
        "record": (f"SHA-256 of probe_set.parquet: expected {before}, found {after}",),
        "probe": ("stored answers", site.version().tags["probe_sha256"]),
    }


@_breaks("record", "probe")
def an_edited_probe_set_that_is_signed(site: Site) -> Said:
    """With the right key."""
    told = an_edited_probe_set(site)
    site.sign(site.keys)
    return {"record": told["record"], "probe": told["probe"]}


@_breaks("probe")
def an_edited_probe_set_that_the_record_vouches_for(site: Site) -> Said:
    """Its digest is in the record, which is signed with the right key."""
    content = _edit_probe_set(site)
    site.forge(lambda statement: record_files(statement, {"probe_set.parquet": content}))
    return {"probe": ("stored answers", site.version().tags["probe_sha256"])}


# A rolled-back record


@_breaks("signature", "model", "record", "registry", "run", "parameters", "probe")
def the_record_of_the_older_version(site: Site) -> Said:
    """A good record of another model."""
    site.write(f"{site.folder()}/{RECORD}", site.read(f"{site.folder(OLDER)}/{RECORD}"))
    commits, models = _both(site, "git.commit"), _both(site, "model_sha256")
    told = f"git.commit: expected {commits[1]}, found {commits[0]}"
    return {
        "signature": (RECORD,),
        "model": (f"SHA-256 in the record: expected {models[1]}, found {models[0]}",),
        "record": ("evaluation.json",),
        "registry": (told,),
        "run": (told,),
        "parameters": ("model.random_forest.n_estimators: expected 20, found 10",),
    }


@_breaks("model", "registry", "run", "parameters", "metrics", variant=True)
def the_folder_of_the_older_version(site: Site) -> Said:
    """All of it, so that its signature holds."""
    here, there = site.folder(), site.folder(OLDER)
    for path in set(site.listed(here)) - {f"{here}/{path.rpartition('/')[2]}" for path in site.listed(there)}:
        site.remove(path)
    for path in site.listed(there):
        site.write(f"{here}/{path.removeprefix(f'{there}/')}", site.read(path))
    models = _both(site, "model_sha256")
    return {"model": (f"SHA-256 in the registry: expected {models[0]}, found {models[1]}",)}


def _like_the_older_version(site: Site) -> None:
    """Let the tags of the version, and the tags, parameters and metrics of its run be those of the older one."""
    audited, older = site.version(), site.version(OLDER)
    for key, value in older.tags.items():
        if key in audited.tags:
            site.tag_version(key, value)
    run, of_older = audited.run_id, older.run_id
    for key, value in site.client.get_run(of_older).data.tags.items():
        if key in site.client.get_run(run).data.tags:
            site.tag_run(key, value)
    site.sql("DELETE FROM params WHERE run_uuid = ?", run)
    site.sql("INSERT INTO params SELECT key, value, ? FROM params WHERE run_uuid = ?", run, of_older)
    columns = "key, value, timestamp, step, is_nan"
    site.sql("DELETE FROM latest_metrics WHERE run_uuid = ?", run)
    copy = f"INSERT INTO latest_metrics ({columns}, run_uuid) SELECT {columns}, ? FROM latest_metrics "  # noqa: S608
    site.sql(f"{copy} WHERE run_uuid = ?", run, of_older)


@_breaks("@staging")
def everything_of_the_older_version(site: Site) -> Said:
    """Its folder, and everything in MLflow that fits it: only the history knows which model was meant."""
    models = _both(site, "model_sha256")
    the_folder_of_the_older_version(site)
    _like_the_older_version(site)
    return {"@staging": ("model that move", f"expected {models[0]}, found {models[1]}")}


@_breaks("decisions")
def a_history_without_its_newest_move(site: Site) -> Said:
    """And the alias is set back: the history is whole, but shorter."""
    newest = site.moves[-1]
    before = json.loads(site.read(newest))["found"]
    site.remove(newest)
    site.client.set_registered_model_alias(MODEL, "staging", before)
    told = f"expected a move in the history of @staging for records/{Path(site.decision).name}"
    return {"decisions": (told, "found none: the history was rolled back")}


@_breaks("decisions")
def an_edited_decision(site: Site) -> Said:
    """What the gate had said against it is gone."""
    before = site.read(site.decision)
    site.write(site.decision, before.replace(b'"no"', b'"yes"'))
    return {"decisions": ("expected the decision behind move", sha256(before), "found none: changed or removed")}


@_breaks("decisions", variant=True)
def a_decision_that_cannot_be_read(site: Site) -> Said:
    """A byte that is no text."""
    site.write(site.decision, b"\xff" + site.read(site.decision)[1:])
    return {"decisions": ("cannot be read", "expected the decision behind move", "found none")}


@_breaks("decisions", variant=True)
def a_removed_decision(site: Site) -> Said:
    """As if nobody had asked the gate."""
    site.remove(site.decision)
    return {"decisions": ("expected the decision behind move", "found none: changed or removed")}


# What an audit does not see: docs/explanation/trust.md tells of it


@_unseen
def another_description(site: Site) -> None:
    """MLflow's page of the version shows another text."""
    site.client.update_model_version(MODEL, site.audited, "The best model ever.")


@_unseen
def another_verdict_in_the_registry(site: Site) -> None:
    """The short form of the decision, which lists show, is another; the record itself stands."""
    site.tag_version("decision.staging", "yes")


@_unseen
def another_model_card_of_the_run(site: Site) -> None:
    """The run has its own copies of card and evaluation, for MLflow's pages; those beside the model are signed."""
    site.write(f"{site.of_run}/model_card.md", b"The best model ever.")


@_unseen
def another_model_card_with_the_right_key(site: Site) -> None:
    """Whoever has the key can tell another story, if nothing else tells it as well."""
    path = f"{site.folder()}/model_card.md"
    site.write(path, b"The best model ever.")
    site.forge(lambda statement: record_files(statement, {"model_card.md": site.read(path)}))


@_unseen
def another_commit_of_the_same_lock_and_parameters(site: Site) -> None:
    """With the right key and MLflow's database; reproducing it from that commit would tell."""
    commit = site.project.run("git", "rev-parse", "HEAD").stdout.strip()
    assert commit != site.version().tags["git.commit"]
    site.forge(lambda statement: set_commit(statement, commit))
    site.tag_version("git.commit", commit)
    site.tag_run("git.commit", commit)


@_unseen
def a_parameter_at_its_default(site: Site) -> None:
    """The run logs defaults that no file names, so the record does not have them."""
    statement = "UPDATE params SET value = replace(value, ?, ?) WHERE run_uuid = ? AND key = 'model'"
    site.sql(statement, '"max_depth":null', '"max_depth":3', site.version().run_id)


@_unseen
def a_group_of_parameters_fewer(site: Site) -> None:
    """Which groups a run used, only the run tells; without `model` it would not count as a training."""
    site.sql("DELETE FROM params WHERE run_uuid = ? AND key = 'evaluation'", site.version().run_id)


@_unseen
def a_refusal_that_never_was(site: Site) -> None:
    """A decision that moved nothing is expected nowhere, so one more or one less is not noticed."""
    path = site.decision.replace(".json", "0.json")
    site.write(path, json.dumps({"alias": "production", "answer": "no"}).encode())


@_unseen
def a_promotion_that_never_was(site: Site) -> None:
    """The newest move, its decision and the alias: whoever may change all of these removes the end of the story."""
    a_history_without_its_newest_move(site)
    site.remove(site.decision)
