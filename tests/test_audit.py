"""Each link of an audit in states that tests/integration/test_audit.py does not reach."""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from kedro.framework.project import configure_project

import candidates
from candidates import NAME, PARAMETERS
from ml_lifecycle import promotion
from ml_lifecycle.alias_history import AliasHistory
from ml_lifecycle.audit import chain, committed
from ml_lifecycle.audit.finding import Finding, State, overall
from ml_lifecycle.audit.subject import Subject
from ml_lifecycle.errors import RegistryError
from ml_lifecycle.gate import Answer
from ml_lifecycle.model_folder import PROVENANCE, ModelFolder
from ml_lifecycle.pipelines.training.evaluation import track_metrics
from ml_lifecycle.promotion import Registrar
from ml_lifecycle.provenance import statement
from ml_lifecycle.provenance.record import (
    CHANGES,
    DataRecord,
    GitState,
    Provenance,
    RawInput,
    RunRecord,
    digest_of_parameters,
    raw_input_tags,
    run_tags,
)
from ml_lifecycle.registry import records, registration, runs, versions
from ml_lifecycle.registry.runs import RunFacts
from ml_lifecycle.registry.versions import Version
from ml_lifecycle.signing import signature
from ml_lifecycle.signing.keys import SIGNING_KEY, VERIFYING_KEYS, Keys
from mlflow_store import own_mlflow

pytestmark = pytest.mark.filterwarnings("default")  # of third parties; test_lifecycle.py tests that a user sees none

TABLE = b"a\n1\n"
MD5 = "cdad07d5ea7bab7b0ec4fe34c2ccbdd1"
LOCKS = ("first lock\n", "second lock\n")
FIRST = {**PARAMETERS, "seed": 6}
PATCH = b"""diff --git a/conf/base/parameters.yml b/conf/base/parameters.yml
--- a/conf/base/parameters.yml
+++ b/conf/base/parameters.yml
@@ -1 +1 @@
-{}
+{{}}
"""
Findings = dict[str, Finding]


def git(folder: Path, *arguments: str) -> str:
    """Run git without the user's settings."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.check_output(command, env={**os.environ, **alone}, text=True).strip()


def commit(project: Path, lock: str, parameters: dict[str, Any]) -> RunRecord:
    """Commit a lock and parameters; return the record of a run from there."""
    (project / "requirements/run.txt").write_text(lock, encoding="utf-8")
    (project / "conf/base/parameters.yml").write_text(json.dumps(parameters) + "\n", encoding="utf-8")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Change")
    run = candidates.run(parameters=parameters)
    state = run.git.model_copy(update={"commit": git(project, "rev-parse", "HEAD")})
    lock_sha256 = hashlib.sha256(lock.encode()).hexdigest()
    environment = run.environment.model_copy(update={"lock_sha256": lock_sha256})
    return run.model_copy(update={"git": state, "environment": environment})


@dataclass(frozen=True)
class World:
    """A version that holds in all links: its clone, its folder, and what registry and tracking store say."""

    project: Path
    registrar: Registrar
    version: Version
    folder: Path
    facts: RunFacts
    provenance: Provenance
    other: RunRecord


def clone(path: Path) -> Path:
    """Make a repository with a raw table that DVC has locked and cached, and without a remote."""
    for folder in ("requirements", "conf/base", "data", ".dvc/cache/files/md5/" + MD5[:2]):
        (path / folder).mkdir(parents=True)
    (path / ".dvc/config").write_text("[core]\n    analytics = false\n", encoding="utf-8")
    (path / ".gitignore").write_text("/.dvc/cache\n/.dvc/tmp\n/data/table.csv\n", encoding="utf-8")
    (path / ".dvc/cache/files/md5" / MD5[:2] / MD5[2:]).write_bytes(TABLE)
    locked = {"outs": [{"md5": MD5, "size": len(TABLE), "hash": "md5", "path": "table.csv"}]}
    (path / "data/table.csv.dvc").write_text(yaml.safe_dump(locked), encoding="utf-8")
    git(path, "init", "--quiet")
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Register and promote a version."""
    configure_project("ml_lifecycle")
    folder = tmp_path_factory.mktemp("world")
    patch = pytest.MonkeyPatch()
    for name in (SIGNING_KEY, VERIFYING_KEYS):
        patch.delenv(name, raising=False)
    project = clone(folder / "project")
    other, run = commit(project, LOCKS[0], FIRST), commit(project, LOCKS[1], PARAMETERS)
    made = candidates.candidate(decisions={})
    record = made.provenance.model_copy(
        update={
            "run": run,
            "data": DataRecord(model_input_sha256="da" * 32, run=run),
            "raw_inputs": {"table": RawInput(path="data/table.csv", md5=MD5, size=len(TABLE))},
        }
    )
    with own_mlflow(folder):
        registrar = candidates.registrar(folder)
        mlflow.set_tags({**run_tags(run), **raw_input_tags(record.raw_inputs)})
        mlflow.log_params({name: json.dumps(value) for name, value in PARAMETERS.items()})
        mlflow.log_param("model", "{}")
        mlflow.log_metrics({name: figure["value"] for name, figure in track_metrics(made.evaluation).items()})
        made = dataclasses.replace(made, provenance=record)
        number = registration.register(NAME, made, candidates.lock(folder), registrar.keys)
        promotion.promote_first(registrar, number, "any_tree", PARAMETERS)
        version = versions.find(NAME, number)
        with versions.folder(version) as stored:
            shutil.copytree(stored.path, folder / "folder")
        complete = ModelFolder(folder / "folder").provenance()
        yield World(project, registrar, version, folder / "folder", runs.of(version), complete, other)
    patch.undo()


@pytest.fixture
def look(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Findings]:
    """Return a function: audit a version whose record, registry, run and signature agree, but for what is given."""

    def run(
        provenance: Provenance = world.provenance,
        text: str | None = None,
        files: dict[str, bytes | None] | None = None,
        facts: dict[str, Any] | None = None,
        not_signed: dict[str, bytes] | None = None,
        **changes: Any,
    ) -> Findings:
        folder = tmp_path / "folder"
        shutil.copytree(world.folder, folder)
        (folder / PROVENANCE).write_text(text or statement.write(provenance, NAME), encoding="utf-8")
        for name, content in (files or {}).items():
            if content is None:
                (folder / name).unlink()
            else:
                (folder / name).write_bytes(content)
        with world.registrar.keys.private() as key:
            signature.sign(folder, key)
        for name, content in (not_signed or {}).items():
            (folder / name).write_bytes(content)
        of_run = {**run_tags(provenance.run), **raw_input_tags(provenance.raw_inputs)}
        told = dataclasses.replace(world.facts, **{"tags": of_run, **(facts or {})})
        monkeypatch.setattr(runs, "of", lambda version: told)
        version = dataclasses.replace(world.version, tags={**world.version.tags, **provenance.tags()})
        parts = {"project": world.project, "registrar": world.registrar, "version": version, **changes}
        return {found.link: found for found in chain.findings(Subject(folder=ModelFolder(folder), **parts))}

    return run


def changed(provenance: Provenance, run: RunRecord) -> Provenance:
    """The record of another run, which made the data as well."""
    return provenance.model_copy(update={"run": run, "data": DataRecord(model_input_sha256="da" * 32, run=run)})


def not_holding(findings: Findings) -> dict[str, State]:
    """The links that do not hold."""
    return {link: found.state for link, found in findings.items() if found.state is not State.HOLDS}


class TestOverall:
    """The answer of an audit."""

    @pytest.mark.parametrize(
        ("states", "answer"),
        [
            ([State.HOLDS, State.HOLDS], Answer.YES),
            ([State.HOLDS, State.UNCHECKED], Answer.CANNOT),
            ([State.HOLDS, State.UNCHECKED, State.BROKEN], Answer.NO),
            ([], Answer.CANNOT),
        ],
    )
    def test_is_as_the_worst_link(self, states: list[State], answer: Answer) -> None:
        """One broken link is a no, one that cannot be checked leaves it open; and nothing is no proof."""
        findings = [Finding(link=str(number), state=state, detail="") for number, state in enumerate(states)]
        assert answer is overall(findings)


def test_all_hold(look: Callable[..., Findings]) -> None:
    """A version that nobody touched: data and model of one commit are looked up once."""
    findings = look()
    assert {} == not_holding(findings), findings
    assert 16 == len(findings)


class TestRecord:
    """The record itself."""

    def test_of_the_first_schema(self, look: Callable[..., Findings], world: World) -> None:
        """It says less, so less can be checked; what it says is."""
        old = world.provenance.model_copy(update={"data": None, "judge_sha256": None, "files": {}})
        unknown = {"data": True, "judge_sha256": True, "files": True, "run": {"runtime_parameters"}}
        text = json.dumps({"schema_version": 1, **old.model_dump(mode="json", exclude=unknown)})
        findings = look(old, text)
        assert {"record": State.UNCHECKED} == not_holding(findings)
        assert "does not tell the run that made the data, the rows it was judged on" in findings["record"].detail

    def test_that_is_none(self, look: Callable[..., Findings]) -> None:
        """What is compared with it cannot be checked; what is not still holds."""
        findings = look(text="{}")
        assert State.BROKEN is findings["record"].state
        assert {"signature", "record", "@staging", "@production", "decisions", "metrics"} == {
            link for link, found in findings.items() if found.state is not State.UNCHECKED
        }
        assert "commit" not in findings

    def test_of_other_parameters_than_their_digest(self, look: Callable[..., Findings], world: World) -> None:
        """The digest of the parameters is looked at as well."""
        run = world.provenance.run.model_copy(update={"parameters_sha256": "0" * 64})
        findings = look(changed(world.provenance, run))
        assert {"record": State.BROKEN} == not_holding(findings)
        assert f"expected {'0' * 64}, found {digest_of_parameters(PARAMETERS)}" in findings["record"].detail

    @pytest.mark.parametrize("file", ["..", "a\0b", "not there"])
    def test_of_a_file_that_is_none(self, look: Callable[..., Findings], world: World, file: str) -> None:
        """A name that no run would write is not followed."""
        files = {**world.provenance.files, file: "0" * 64}
        assert {"record": State.BROKEN} == not_holding(look(world.provenance.model_copy(update={"files": files})))


class TestRun:
    """The run in the tracking store."""

    def test_registered_later(self, look: Callable[..., Findings], world: World) -> None:
        """A run that only registered has tags of its own: it vouches for nothing, and breaks nothing."""
        tags = {**run_tags(world.other), "kedro.pipelines": "__default__"}
        findings = look(facts={"tags": tags, "parameters": {}, "metrics": {}})
        assert dict.fromkeys(("run", "parameters", "metrics"), State.UNCHECKED) == not_holding(findings)
        assert "registered what an earlier run had trained" in findings["run"].detail

    def test_other_pipelines_are_no_excuse(self, look: Callable[..., Findings], world: World) -> None:
        """A run that trained has the tags of the record, whatever pipelines it names."""
        tags = {**run_tags(world.other), "kedro.pipelines": "__default__"}
        assert {"run": State.BROKEN} == not_holding(look(facts={"tags": tags}))

    def test_other_raw_inputs(self, look: Callable[..., Findings], world: World) -> None:
        """A run that read the raw data names them."""
        findings = look(facts={"tags": {**run_tags(world.provenance.run), "dvc.table": "0" * 32, "dvc.more": "1" * 32}})
        assert {"run": State.BROKEN} == not_holding(findings)
        assert f"dvc.more: expected nothing, found {'1' * 32}" in findings["run"].detail
        assert f"dvc.table: expected {MD5}, found {'0' * 32}" in findings["run"].detail

    def test_without_tags(self, look: Callable[..., Findings]) -> None:
        """A run that tells nothing of its origin proves nothing."""
        assert {"run": State.UNCHECKED} == not_holding(look(facts={"tags": {}}))

    def test_parameter_that_is_no_json(self, look: Callable[..., Findings]) -> None:
        """What stands there is compared as text; what the record does not have is not."""
        findings = look(facts={"parameters": {"model": "{}", "seed": "{", "more": "1"}})
        assert {"parameters": State.BROKEN} == not_holding(findings)
        assert "seed: expected 7, found {" in findings["parameters"].detail

    def test_a_metric_more(self, look: Callable[..., Findings], world: World) -> None:
        """The evaluation has all of them."""
        findings = look(facts={"metrics": {**world.facts.metrics, "judge.more": 1.0}})
        assert {"metrics": State.BROKEN} == not_holding(findings)
        assert "judge.more: expected nothing, found 1.0" in findings["metrics"].detail

    def test_without_evaluation(self, look: Callable[..., Findings], world: World) -> None:
        """An old version has no evaluation beside it."""
        files = {name: digest for name, digest in world.provenance.files.items() if name != "evaluation.json"}
        findings = look(world.provenance.model_copy(update={"files": files}), files={"evaluation.json": None})
        assert dict.fromkeys(("record", "metrics"), State.UNCHECKED) == not_holding(findings)

    @pytest.mark.parametrize("content", [b"[1]", b'{"model": 3}', b"\xff", b"{}"])
    def test_evaluation_that_is_none(self, look: Callable[..., Findings], content: bytes) -> None:
        """Whatever stands in its place, the other links are checked."""
        findings = look(files={"evaluation.json": content})
        assert dict.fromkeys(("record", "metrics"), State.BROKEN) == not_holding(findings)
        assert "found what cannot be read" in findings["metrics"].detail


class TestCode:
    """Commit, lock, configuration and the versions of the data."""

    def test_data_of_another_commit(self, look: Callable[..., Findings], world: World) -> None:
        """Both commits are looked up, each with its own lock and parameters."""
        data = DataRecord(model_input_sha256="da" * 32, run=world.other)
        findings = look(world.provenance.model_copy(update={"data": data}))
        assert {} == not_holding(findings)
        names = ("commit (data)", "lock (data)", "configuration (data)", "data versions", "commit", "lock")
        assert names == tuple(findings)[7:13]

    def test_commit_that_is_not_here(self, look: Callable[..., Findings], world: World) -> None:
        """What hangs on it cannot be checked."""
        state = GitState(commit="c0" * 20, dirty=False, diff_sha256="d1" * 32)
        findings = look(changed(world.provenance, world.provenance.run.model_copy(update={"git": state})))
        rest = dict.fromkeys(("lock", "configuration", "data versions"), State.UNCHECKED)
        assert {"commit": State.BROKEN, **rest} == not_holding(findings)
        assert f"expected commit {'c0' * 20} in this repository, found none; fetch it" in findings["commit"].detail

    def test_commit_that_a_shallow_clone_lacks(
        self, look: Callable[..., Findings], world: World, tmp_path: Path
    ) -> None:
        """There the commit may exist elsewhere: how to fetch it is said."""
        project = tmp_path / "project"
        subprocess.check_call(["git", "clone", "--quiet", "--depth", "1", f"file://{world.project}", str(project)])
        shutil.copytree(world.project / ".dvc/cache", project / ".dvc/cache")
        data = DataRecord(model_input_sha256="da" * 32, run=world.other)
        findings = look(world.provenance.model_copy(update={"data": data}), project=project)
        names = ("commit (data)", "lock (data)", "configuration (data)", "data versions")
        assert dict.fromkeys(names, State.UNCHECKED) == not_holding(findings)
        told = f"this clone is shallow and lacks {world.other.git.commit}: `git fetch --unshallow`"
        assert told == findings["commit (data)"].detail

    def test_changes_that_were_not_kept(self, look: Callable[..., Findings], world: World) -> None:
        """A dirty version can be compared with its commit only."""
        state = world.provenance.run.git.model_copy(update={"dirty": True})
        findings = look(changed(world.provenance, world.provenance.run.model_copy(update={"git": state})))
        assert {"commit": State.UNCHECKED} == not_holding(findings)
        assert "made with uncommitted changes that were not kept" in findings["commit"].detail

    def test_changes_that_were_kept(self, look: Callable[..., Findings], world: World) -> None:
        """A dirty version is compared with its commit and its changes."""
        parameters = {**PARAMETERS, "seed": 8}
        patch = PATCH.replace(b"{}", json.dumps(PARAMETERS).encode(), 1).replace(
            b"{{}}", json.dumps(parameters).encode()
        )
        run = world.provenance.run
        state = run.git.model_copy(update={"dirty": True})
        given = {"git": state, "parameters": parameters, "parameters_sha256": digest_of_parameters(parameters)}
        facts = {"parameters": {"model": "{}", "seed": "8"}}
        findings = look(changed(world.provenance, run.model_copy(update=given)), files={CHANGES: patch}, facts=facts)
        assert {} == not_holding(findings), findings
        assert findings["commit"].detail.endswith("is in this repository, with the changes that were kept")

    def test_changes_that_do_not_fit(self, look: Callable[..., Findings], world: World) -> None:
        """The changes belong to another commit."""
        state = world.provenance.run.git.model_copy(update={"dirty": True})
        record = changed(world.provenance, world.provenance.run.model_copy(update={"git": state}))
        findings = look(record, files={CHANGES: PATCH})
        assert State.BROKEN is findings["commit"].state
        assert "expected a commit with changes that fit it, found: " in findings["commit"].detail

    def test_parameters_of_the_command_line(self, look: Callable[..., Findings], world: World) -> None:
        """They are told apart from those of the commit."""
        parameters = {**PARAMETERS, "seed": 9}
        given = {
            "parameters": parameters,
            "parameters_sha256": digest_of_parameters(parameters),
            "runtime_parameters": {"seed": 9},
        }
        findings = look(
            changed(world.provenance, world.provenance.run.model_copy(update=given)),
            facts={"parameters": {"model": "{}", "seed": "9"}},
        )
        assert {} == not_holding(findings), findings
        assert findings["configuration"].detail.endswith("1 of them from the command line or conf/local")

    @pytest.mark.parametrize("environment", ["../../outside", "/outside", ""])
    def test_environment_that_is_none(self, look: Callable[..., Findings], world: World, environment: str) -> None:
        """It becomes a path, so it is not followed."""
        run = world.provenance.run.model_copy(update={"kedro_environment": environment})
        assert {"configuration": State.BROKEN} == not_holding(look(changed(world.provenance, run)))

    def test_configuration_that_cannot_be_read(
        self, look: Callable[..., Findings], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Such as one of another version of Kedro."""
        monkeypatch.setattr(committed, "parameters_in", lambda tree, environment, runtime: 1 / 0)
        assert {"configuration": State.UNCHECKED} == not_holding(look())


class TestRawData:
    """Copies of the raw data."""

    def test_nowhere(self, look: Callable[..., Findings], world: World, tmp_path: Path) -> None:
        """Neither cache nor remote has it: this machine cannot tell."""
        project = tmp_path / "project"
        shutil.copytree(world.project, project)
        shutil.rmtree(project / ".dvc/cache")
        findings = look(project=project)
        assert {"raw data": State.UNCHECKED} == not_holding(findings)
        assert "neither DVC's cache nor its remote holds table" in findings["raw data"].detail

    def test_remote_that_cannot_be_asked(self, look: Callable[..., Findings], world: World, tmp_path: Path) -> None:
        """The cache is enough, and the remote's silence is told."""
        project = tmp_path / "project"
        shutil.copytree(world.project, project)
        remote = "['remote \"away\"']\n    url = s3://away\n    endpointurl = http://127.0.0.1:9\n"
        settings = "[core]\n    analytics = false\n    remote = away\n"
        (project / ".dvc/config").write_text(settings + remote, encoding="utf-8")
        findings = look(project=project)
        assert {} == not_holding(findings)
        assert "in cache (sizes compared" in findings["raw data"].detail
        assert "; the remote cannot be asked (" in findings["raw data"].detail


class TestDecisions:
    """What was decided, and what was moved."""

    def test_a_run_that_is_gone(self, look: Callable[..., Findings], monkeypatch: pytest.MonkeyPatch) -> None:
        """With it, all that was decided."""

        def gone(version: Version, kind: str) -> list[records.Record]:
            raise RegistryError("gone")

        monkeypatch.setattr(records, "of", gone)
        assert {"decisions": State.BROKEN} == not_holding(look())

    def test_histories_that_cannot_be_read(self, look: Callable[..., Findings], world: World, tmp_path: Path) -> None:
        """An alias is broken; what was decided cannot be compared with it."""
        shutil.copytree(world.project.parent / "history", tmp_path / "history")
        (tmp_path / "history" / NAME / "staging/000001.json").write_bytes(b"{")
        registrar = dataclasses.replace(world.registrar, history=AliasHistory(str(tmp_path / "history")))
        findings = look(registrar=registrar)
        assert {"@staging": State.BROKEN, "decisions": State.UNCHECKED} == not_holding(findings)

    @pytest.mark.parametrize(("overtaken", "expected"), [("1a7e", {}), ("0", {"decisions": State.BROKEN})])
    def test_overtaken(
        self,
        look: Callable[..., Findings],
        world: World,
        monkeypatch: pytest.MonkeyPatch,
        overtaken: str,
        expected: dict[str, State],
    ) -> None:
        """A decision needs a move of its own, unless it is kept that somebody else's move overtook it."""
        late = records.Record("late", "1a7e", {"alias": "staging", "answer": "yes"})
        kept = {
            records.DECISION: [*records.of(world.version, records.DECISION), late],
            records.OVERTAKEN: [records.Record("overtaken", "0", {"decision_sha256": overtaken})],
        }
        monkeypatch.setattr(records, "of", lambda version, kind: kept[kind])
        assert expected == not_holding(look())

    @pytest.mark.parametrize(
        ("alias", "order", "expected"),
        [
            ("staging", "before", {}),
            ("staging", "after", {"decisions": State.BROKEN}),
            ("another", "before", {"decisions": State.BROKEN}),
        ],
    )
    def test_a_move_that_was_broken_off(
        self,
        look: Callable[..., Findings],
        world: World,
        monkeypatch: pytest.MonkeyPatch,
        alias: str,
        order: str,
        expected: dict[str, State],
    ) -> None:
        """A decision without a move is all right only if a later one for the same alias was carried out."""
        real = records.of(world.version, records.DECISION)
        alone = records.Record("alone", "1a7e", {"alias": alias, "answer": "yes"})
        kept = {records.DECISION: [alone, *real] if order == "before" else [*real, alone], records.OVERTAKEN: []}
        monkeypatch.setattr(records, "of", lambda version, kind: kept[kind])
        findings = look()
        assert expected == not_holding(findings)
        assert (f"in the history of @{alias} for alone, found none" in findings["decisions"].detail) == bool(expected)

    def test_shows_what_was_forgiven(self, world: World) -> None:
        """A first version from a dirty tree is promoted, and every audit shows it."""
        registrar = dataclasses.replace(world.registrar, model="another_model")
        made = candidates.candidate(dirty=True, decisions={})
        with mlflow.start_run(nested=True, experiment_id=mlflow.active_run().info.experiment_id):
            lock = candidates.lock(world.folder.parent)
            number = registration.register("another_model", made, lock, registrar.keys)
            promotion.promote_first(registrar, number, "any_tree", PARAMETERS)
        findings = chain.audit(world.project, registrar, versions.find("another_model", number))
        (decisions,) = [found for found in findings if found.link == "decisions"]
        assert State.HOLDS is decisions.state
        assert ["clean_tree"] == [told[-10:] for told in decisions.detail.split("; ") if "forgiven at" in told]


class TestFolder:
    """What the artifact store keeps."""

    def test_missing(self, world: World) -> None:
        """Then there is nothing else to check."""
        version = dataclasses.replace(world.version, number="77")
        (found,) = chain.audit(world.project, world.registrar, version)
        assert ("model", State.BROKEN) == (found.link, found.state)
        assert "expected its folder in the artifact store, found: " in found.detail

    def test_without_the_model(self, look: Callable[..., Findings]) -> None:
        """The rest of the folder is looked at."""
        findings = look(files={"model.onnx": None})
        assert dict.fromkeys(("model", "probe"), State.BROKEN) == not_holding(findings)
        assert "expected model.onnx in the artifact store, found none" == findings["model"].detail

    def test_a_model_that_nobody_signed_is_not_run(
        self, look: Callable[..., Findings], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its answers stay open; those that are stored are compared all the same."""
        run: list[ModelFolder] = []

        def note(folder: ModelFolder) -> None:
            run.append(folder)

        monkeypatch.setattr(ModelFolder, "model", note)
        findings = look(not_signed={"model.onnx": b"hostile"})
        broken = dict.fromkeys(("signature", "model"), State.BROKEN)
        assert {**broken, "probe": State.UNCHECKED} == not_holding(findings)
        assert "no trusted key is known to have signed the model, so it is not run" in findings["probe"].detail
        assert [] == run

    def test_answers_that_cannot_be_read(self, look: Callable[..., Findings]) -> None:
        """Whatever stands in the place of the probe set breaks what it was for."""
        findings = look(not_signed={"probe_set.parquet": b"hostile"})
        assert dict.fromkeys(("signature", "record", "probe"), State.BROKEN) == not_holding(findings)
        assert "expected a probe set, found: " in findings["probe"].detail

    def test_without_a_key(self, look: Callable[..., Findings], world: World, tmp_path: Path) -> None:
        """Whether the signature holds stays open, and the model is not run."""
        registrar = dataclasses.replace(world.registrar, keys=Keys(tmp_path / "none"))
        findings = look(registrar=registrar)
        assert dict.fromkeys(("signature", "probe"), State.UNCHECKED) == not_holding(findings)
        assert "so it is not run" in findings["probe"].detail
