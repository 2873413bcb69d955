"""`kedro model …`, on a real MLflow with real keys; audit and reproduce have tests of their own."""

import contextlib
import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

import candidates
from candidates import NAME, World
from ml_lifecycle import model_commands, workspace
from ml_lifecycle.errors import RegistryError
from ml_lifecycle.gate import Answer
from ml_lifecycle.model_commands import Report
from ml_lifecycle.model_version import Candidate
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.registry import records, versions
from ml_lifecycle.signing.keys import SIGNING_KEY, VERIFYING_KEYS, Keys
from test_lineage import logged

pytestmark = pytest.mark.filterwarnings("default")  # of third parties; test_lifecycle.py tests that a user sees none

Ask = Callable[..., Result]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Make an empty registry."""
    monkeypatch.delenv(SIGNING_KEY, raising=False)
    monkeypatch.delenv(VERIFYING_KEYS, raising=False)
    with candidates.world(tmp_path) as made:
        yield made


@pytest.fixture
def opened() -> list[str | None]:
    """Return the environments that commands opened."""
    return []


@pytest.fixture
def ask(world: World, monkeypatch: pytest.MonkeyPatch, opened: list[str | None]) -> Ask:
    """Run a command on the registry; with ``on``, on one that differs from it."""

    def run(*arguments: str, on: World = world) -> Result:
        @contextlib.contextmanager
        def open_workspace(environment: str | None) -> Iterator[World]:
            opened.append(environment)
            yield on

        monkeypatch.setattr(workspace, "open_workspace", open_workspace)
        return CliRunner().invoke(model_commands.model, arguments)

    return run


def facts(result: Result) -> Any:
    """Read what a command says to programs: all of its standard output."""
    return json.loads(result.stdout)


def another(threshold: float = 0.75, **changes: Any) -> Candidate:
    """Make another candidate than the usual one."""
    return candidates.candidate(candidates.small_model(threshold), **changes)


class TestAnswering:
    """What every command does with its answer."""

    @pytest.fixture
    def run(self, world: World, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
        """Run a command that finds, or raises, what it is given."""
        ask("list")  # opens this registry from here on

        def of(found: Report | Exception, *arguments: str) -> Result:
            def command(workspace: Any) -> Report:
                """Stand for a command."""
                assert workspace is world
                if isinstance(found, Exception):
                    raise found
                return found

            answering: Any = model_commands._answering(command)
            return CliRunner().invoke(click.command(answering), arguments)

        return of

    @pytest.mark.parametrize(("answer", "code"), [(Answer.YES, 0), (Answer.NO, 1), (Answer.CANNOT, 2)])
    def test_exits_with_the_answer(self, run: Callable[..., Result], answer: Answer, code: int) -> None:
        """Each answer has a code of its own, in either form."""
        report = Report(answer, {"seven": 7}, ["one", "two"])
        people, programs = run(report), run(report, "--json")
        assert (people.exit_code, people.stdout) == (code, "one\ntwo\n")
        assert (programs.exit_code, facts(programs)) == (code, {"answer": answer.value, "seven": 7})

    def test_every_answer_has_a_code(self) -> None:
        """No answer is without a code, and no two share one."""
        assert sorted(model_commands.EXIT) == sorted(Answer)
        assert len(set(model_commands.EXIT.values())) == len(Answer)

    def test_times_and_paths_are_text(self, run: Callable[..., Result]) -> None:
        """What JSON does not know becomes text."""
        report = Report(Answer.YES, {"at": pd.Timestamp("2013-01-01"), "in": Path("a/b")})
        assert facts(run(report, "--json")) == {"answer": "yes", "at": "2013-01-01 00:00:00", "in": "a/b"}

    def test_an_error_leaves_the_question_open(self, run: Callable[..., Result]) -> None:
        """What this project refuses is told in one line, beside the output, and is no answer."""
        result = run(RegistryError("It is not there."))
        assert (result.exit_code, result.stdout, result.stderr) == (2, "", "Error: It is not there.\n")

    def test_an_error_for_programs(self, run: Callable[..., Result]) -> None:
        """Programs find the error in the same JSON as an answer."""
        result = run(RegistryError("It is not there."), "--json")
        assert (result.exit_code, result.stderr) == (2, "")
        assert facts(result) == {"answer": "cannot decide", "error": "It is not there."}

    def test_an_error_is_explained(self, run: Callable[..., Result]) -> None:
        """What people can act on is found behind what Kedro made of it."""
        wrapped = RuntimeError("outer")
        wrapped.__cause__ = RegistryError("It is not there.")
        assert facts(run(wrapped, "--json"))["error"] == "It is not there."

    def test_a_defect_is_not_hidden(self, run: Callable[..., Result]) -> None:
        """What nobody foresaw is shown as it is, and leaves the question open: a crash is not a no."""
        result = run(MlflowException("a defect"))
        assert (result.exit_code, "MlflowException: a defect" in result.stderr) == (2, True)

    def test_in_an_environment(self, ask: Ask, opened: list[str | None]) -> None:
        """The option --env chooses the environment."""
        assert [ask("list").exit_code, ask("list", "--env", "tabular").exit_code] == [0, 0]
        assert opened == [None, "tabular"]

    @pytest.mark.parametrize("command", sorted(model_commands.model.commands))
    def test_every_command_has_both_options(self, command: str) -> None:
        """Each command takes --env and --json, and says what it does."""
        result = CliRunner().invoke(model_commands.model, [command, "--help"])
        assert ("--env" in result.stdout, "--json" in result.stdout, result.exit_code) == (True, True, 0)
        assert model_commands.model.commands[command].help

    @pytest.mark.parametrize("command", ["show", "verify", "sign", "audit", "promote"])
    def test_an_unknown_version(self, ask: Ask, world: World, command: str) -> None:
        """Whoever names a version that is not there is told what is, and gets no answer."""
        world.add()
        to = ["--to", "staging"] if command == "promote" else []
        result = ask(command, "7", *to)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "The model 'small_model' has no version '7'" in result.stderr
        assert facts(ask(command, "7", "--json", *to))["answer"] == "cannot decide"


def test_help_needs_nothing_heavy() -> None:
    """The help of all commands appears without MLflow and pandas being imported."""
    program = (
        "import sys; from click.testing import CliRunner; from ml_lifecycle.model_commands import model; "
        "assert CliRunner().invoke(model, ['--help']).exit_code == 0; print('mlflow' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False\n"


class TestList:
    """All versions."""

    def test_without_versions(self, ask: Ask) -> None:
        """Before the first run, it is told how to make one."""
        result = ask("list")
        assert (result.exit_code, result.stdout) == (
            0,
            "There are no versions of 'small_model' yet. Make one: `kedro run`.\n",
        )
        assert facts(ask("list", "--json")) == {"answer": "yes", "model": NAME, "versions": []}

    def test_the_newest_first(self, ask: Ask, world: World) -> None:
        """Each version has a few lines; the newest comes first."""
        first = world.add()
        second = world.add(another(dirty=True))
        world.promote(first)
        result = ask("list")
        heads = [line for line in result.stdout.splitlines() if not line.startswith(" ")]
        assert ["Version 2  (no alias)", "Version 1  @production"] == [line.partition("  made ")[0] for line in heads]
        found = facts(ask("list", "--json"))["versions"]
        assert [(second.digest, False), (first.digest, True)] == [(each["digest"], each["clean"]) for each in found]

    def test_lines(self, ask: Ask, world: World) -> None:
        """Model, signature, commit, data, quality and verdicts are told."""
        version = world.add(candidates.candidate(dirty=True))
        world.decide(version)
        lines = ask("list").stdout.splitlines()
        assert lines[1:4] == [
            f"  model     SHA-256 {version.digest}, signature verified: by signing.pub",
            "  code      c0ffeec0 (dirty)",
            "  data      table 7ab17ab1",
        ]
        assert lines[4].startswith("  quality   roc_auc 0.800, average_precision 0.500, ")
        assert lines[5].startswith("  gate for @production: no: clean_tree: ")

    def test_what_is_not_known(self, ask: Ask, world: World) -> None:
        """A version that others registered, without any of our files, is listed with what is known of it."""
        world.add()
        MlflowClient().create_model_version(NAME, f"{world.folder}/nowhere")
        result = ask("list")
        assert result.exit_code == 0
        lines = result.stdout.splitlines()
        assert lines[1].startswith("  model     SHA-256 , signature unchecked: The artifacts of version 2")
        assert lines[2:5] == ["  code      unknown (unknown whether clean)", "  data      unknown", lines[4]]
        assert lines[4].startswith("Version 1")


class TestShow:
    """One version."""

    @pytest.mark.parametrize("by", ["number", "alias", "digest"])
    def test_by_any_name(self, ask: Ask, world: World, by: str) -> None:
        """Number, alias and digest lead to the same version."""
        version = world.add()
        world.promote(version)
        reference = {"number": "1", "alias": "@production", "digest": version.digest[:10]}[by]
        result = facts(ask("show", reference, "--json"))
        assert (result["answer"], result["version"], result["digest"]) == ("yes", "1", version.digest)

    def test_lines(self, ask: Ask, world: World) -> None:
        """Besides the lines of the list: run, environment, parameters and what was decided."""
        version = world.add()
        world.decide(version, reason="a look")
        records.store(version, records.REPRODUCTION, {"answer": "yes"}, ("reproduced", "yes"))
        text = ask("show", "1").stdout
        assert f"  run       {version.run_id}, started 2013-10-01T00:00:00+00:00\n" in text
        assert "  made on   Python 3.11.7, Linux\n" in text
        assert "  parameter seed = 7\n" in text
        assert "  parameter export.tolerance = 1e-05\n" in text
        lines = text.splitlines()
        assert " decision for @production by " in lines[-2]
        assert lines[-2].endswith(": yes: a look")
        assert " reproduction by " in lines[-1]
        assert lines[-1].endswith(": yes")

    def test_tells_the_image_of_a_run_in_a_container(self, ask: Ask, world: World) -> None:
        """By its digest; a run elsewhere has none."""
        made = candidates.candidate()
        run, image = made.provenance.run, f"sha256:{'1a' * 32}"
        inside = run.model_copy(update={"environment": run.environment.model_copy(update={"image": image})})
        world.add(dataclasses.replace(made, provenance=made.provenance.model_copy(update={"run": inside})))
        world.add()
        assert f"  image     {image}\n" in ask("show", "1").stdout
        assert "  image " not in ask("show", "2").stdout

    def test_what_cannot_be_read(self, ask: Ask, world: World) -> None:
        """A record that somebody destroyed is told as such."""
        version = world.add()
        world.decide(version)
        (record,) = records.of(version, records.DECISION)
        world.kept(record).write_text("{", encoding="utf-8")
        (world.stored(version).path / "provenance.json").write_text("{", encoding="utf-8")
        result = ask("show", "1")
        assert result.exit_code == 0
        assert result.stdout.splitlines()[-2:] == [
            f"  run       {version.run_id}, started unknown",
            "  a record that cannot be read",
        ]
        assert facts(ask("show", "1", "--json"))["decisions"] == [None]

    def test_a_record_of_another_form(self, ask: Ask, world: World) -> None:
        """A record that lacks what every record has does not break the others."""
        version = world.add()
        world.decide(version)
        (record,) = records.of(version, records.DECISION)
        world.kept(record).write_text("{}", encoding="utf-8")
        result = ask("show", "1")
        assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "  a record that cannot be read")


class TestPromote:
    """The gate's answer, and the move."""

    def test_yes(self, ask: Ask, world: World) -> None:
        """A version that fulfils everything gets the alias; every rule is told, and how to undo it."""
        version = world.add()
        result = ask("promote", "1", "--to", "production", "--reason", "the first")
        assert (result.exit_code, versions.aliases(NAME)) == (0, {"production": "1"})
        lines = result.stdout.splitlines()
        assert lines[0] == "The gate for @production: version 1 of 'small_model', with nobody in @production"
        assert len(lines) == 1 + 11 + 2
        assert all(line.startswith("✓ ") for line in lines[1:12])
        assert lines[-2] == "Yes: @production of 'small_model' now points to version 1, before: nothing."
        assert lines[-1].startswith("Undo: `kedro model rollback production`")
        (move,) = world.registrar.history.read(NAME, "production")
        assert (move.action, move.reason, move.to_digest) == ("promote", "the first", version.digest)

    def test_yes_for_programs(self, ask: Ask, world: World) -> None:
        """Programs find decision and move."""
        version = world.add()
        found = facts(ask("promote", "1", "--to", "staging", "--json"))
        assert (found["answer"], found["gate"], found["moved"]) == ("yes", "yes", True)
        assert (found["version"], found["digest"]) == ("1", version.digest)
        (record,) = records.of(version, records.DECISION)
        assert record.sha256 == found["sha256"] == found["move"]["decision_sha256"]

    def test_no(self, ask: Ask, world: World) -> None:
        """A version that the gate refuses moves nothing; the rule is named with its figures."""
        version = world.add(candidates.candidate(dirty=True))
        result = ask("promote", "1", "--to", "production")
        assert (result.exit_code, versions.aliases(NAME)) == (1, {})
        assert "✗ clean_tree  no: made with uncommitted changes; needed: a commit without any\n" in result.stdout
        assert result.stdout.endswith("No: @production stays where it is, because of clean_tree.\n")
        found = facts(ask("promote", "1", "--to", "production", "--json"))
        assert (found["answer"], found["moved"], "move" in found) == ("no", False, False)
        assert len(records.of(version, records.DECISION)) == 2

    def test_cannot_decide(self, ask: Ask, world: World) -> None:
        """Where a rule is open nothing moves either, and the code says so."""
        world.add()
        result = ask("promote", "1", "--to", "staging", on=replace(world, registrar=without_keys(world)))
        assert (result.exit_code, versions.aliases(NAME)) == (2, {})
        assert "? signature   cannot decide: unchecked: There is no key to verify" in result.stdout
        assert result.stdout.endswith(
            "Cannot decide: @staging stays where it is, because of signature, baselines, latency.\n"
        )

    def test_a_challenger_that_is_no_better(
        self,
        ask: Ask,
        world: World,
        model_input: pd.DataFrame,
        onnx_model: OnnxModel,
    ) -> None:
        """Against a version in place, a model that is no better is refused with numbers."""
        judge = model_input[model_input["row_split"] == "judge"]
        requests = model_input.rename(columns={"row_key": "customer"})[["customer", *onnx_model.roles.columns]]
        world.tables = {"model_input": model_input, "requests": requests}
        rows = judge.head(20)[onnx_model.roles.columns]
        world.promote(world.add(candidates.candidate(onnx_model, rows, judge)))
        world.add(candidates.candidate(onnx_model, rows, judge))
        result = ask("promote", "2", "--to", "production")
        assert result.exit_code == 1
        assert "version 2 of 'small_model', against version 1" in result.stdout
        assert "✗ incumbent   no: gain over version 1 in roc_auc: 0.0000" in result.stdout

    @pytest.mark.parametrize("reason", [[], ["--reason", ""], ["--reason", "  "]])
    def test_force_needs_a_reason(self, ask: Ask, world: World, reason: list[str]) -> None:
        """Without a reason nothing is forced, asked or kept."""
        version = world.add()
        result = ask("promote", "1", "--to", "production", "--force", *reason)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "--force needs a --reason" in result.stderr
        assert (versions.aliases(NAME), records.of(version, records.DECISION)) == ({}, [])

    def test_forced(self, ask: Ask, world: World) -> None:
        """With a reason it moves; answer, line and history say that it was forced."""
        world.add(candidates.candidate(dirty=True))
        arguments = "promote", "1", "--to", "production", "--force", "--reason", "it cannot wait"
        found = facts(ask(*arguments, "--json"))
        assert (found["answer"], found["gate"], found["forced"], found["moved"]) == ("yes", "no", True, True)
        world.add(another(dirty=True))
        result = ask("promote", "2", *arguments[2:])
        assert result.exit_code == 0
        told = "Forced (it cannot wait): @production of 'small_model' now points to version 2, before: 1."
        assert told in result.stdout
        assert [True, True] == [move.forced for move in world.registrar.history.read(NAME, "production")]

    def test_force_does_not_help_without_a_signature(self, ask: Ask, world: World) -> None:
        """What cannot be loaded stays out, and it is told why."""
        world.add(keys=Keys(world.folder / "nowhere"))
        result = ask("promote", "1", "--to", "staging", "--force", "--reason", "please")
        assert (result.exit_code, versions.aliases(NAME)) == (1, {})
        assert result.stdout.endswith("--force cannot help: signature is needed to load a model at all.\n")

    def test_it_has_the_alias(self, ask: Ask, world: World) -> None:
        """A version is not compared with itself."""
        world.promote(world.add())
        result = ask("promote", "1", "--to", "production")
        assert (result.exit_code, result.stderr) == (
            2,
            "Error: Version 1 of 'small_model' has @production already. Nothing was moved.\n",
        )

    @pytest.mark.parametrize("to", [[], ["--to", "champion"], ["--to", "@production"]])
    def test_an_unknown_alias(self, ask: Ask, world: World, to: list[str]) -> None:
        """There are two aliases; click refuses any other, with the code of an open question."""
        world.add()
        assert (ask("promote", "1", *to).exit_code, versions.aliases(NAME)) == (2, {})

    def test_somebody_was_faster(self, ask: Ask, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who is overtaken is told so, and the alias is the other's."""
        slow, fast = world.add(), world.add(another())
        read = World.gate

        def gate(_: World) -> Any:  # is asked for after the comparison
            monkeypatch.setattr(World, "gate", read, raising=False)
            world.promote(fast)
            return candidates.OPTIONS

        monkeypatch.setattr(World, "gate", property(gate, lambda *_: None))
        result = ask("promote", "1", "--to", "production")
        assert (result.exit_code, versions.aliases(NAME)) == (2, {"production": "2"})
        assert "was moved by somebody else meanwhile" in result.stderr
        assert len(records.of(slow, records.OVERTAKEN)) == 1


def without_keys(world: World) -> Any:
    """The same registrar, without a key to verify with."""
    return replace(world.registrar, keys=Keys(Path("nowhere")))


class TestRollback:
    """One step back."""

    @pytest.mark.parametrize("alias", ["production", "@production"])
    def test_goes_back(self, ask: Ask, world: World, alias: str) -> None:
        """The alias points to the version before, with or without its sign."""
        world.promote(world.add())
        world.promote(world.add(another()))
        result = ask("rollback", alias, "--reason", "it was worse")
        told = "@production of 'small_model' points to version 1 again, before: 2.\n"
        assert (result.exit_code, result.stdout, versions.aliases(NAME)) == (0, told, {"production": "1"})
        assert world.registrar.history.read(NAME, "production")[-1].reason == "it was worse"

    def test_for_programs(self, ask: Ask, world: World) -> None:
        """Programs find the move."""
        world.promote(world.add())
        world.promote(world.add(another()))
        found = facts(ask("rollback", "production", "--json"))
        assert (found["answer"], found["move"]["action"], found["move"]["to"]) == ("yes", "rollback", "1")

    def test_nothing_to_go_back_to(self, ask: Ask, world: World) -> None:
        """The first version stays."""
        world.promote(world.add())
        result = ask("rollback", "production")
        assert (result.exit_code, versions.aliases(NAME)) == (2, {"production": "1"})
        assert "There is nothing to roll @production of 'small_model' back to" in result.stderr

    def test_an_unknown_alias(self, ask: Ask) -> None:
        """There are two aliases."""
        result = ask("rollback", "champion")
        assert (result.exit_code, result.stderr) == (
            2,
            "Error: There is no alias 'champion'. Allowed: staging, production.\n",
        )


class TestHistory:
    """Who moved the aliases."""

    def test_of_both(self, ask: Ask, world: World) -> None:
        """Each move has a line: from where to where, how, who, where and why."""
        world.promote(world.add(), "staging")
        world.promote(world.add(another(dirty=True)))
        world.promote(world.find("1"))
        world.registrar.roll_back("production", "it was worse")
        result = ask("history")
        lines = result.stdout.splitlines()
        assert (result.exit_code, lines[0], lines[2]) == (0, "@staging: 1 moves", "@production: 3 moves")
        assert "  nothing -> 2  promote FORCED by " in lines[3]
        assert lines[3].endswith(": for this test")
        assert "  2 -> 1  promote FORCED by " in lines[4]
        assert "  1 -> 2  rollback by " in lines[5]
        assert lines[5].endswith(": it was worse")

    def test_of_one(self, ask: Ask, world: World) -> None:
        """Only the alias that is named is told."""
        world.promote(world.add())
        found = facts(ask("history", "@production", "--json"))
        assert (found["answer"], found["model"], list(found["aliases"])) == ("yes", NAME, ["production"])
        assert [("1", "promote")] == [(move["to"], move["action"]) for move in found["aliases"]["production"]["moves"]]

    def test_of_nobody(self, ask: Ask) -> None:
        """Before the first move there is nothing to tell."""
        assert ask("history").stdout == "@staging: 0 moves\n@production: 0 moves\n"

    def test_moved_outside(self, ask: Ask, world: World) -> None:
        """Who moved the alias in MLflow is found out: the answer is no."""
        world.promote(world.add())
        world.add(another())
        MlflowClient().set_registered_model_alias(NAME, "production", "2")
        result = ask("history")
        assert result.exit_code == 1
        assert "  ✗ @production of 'small_model' points elsewhere than its history says" in result.stdout

    def test_changed(self, ask: Ask, world: World) -> None:
        """A file that cannot be read is named: the answer is no."""
        world.promote(world.add())
        (path,) = (world.folder / "history").rglob("000001.json")
        path.write_text("{", encoding="utf-8")
        found = facts(ask("history", "production", "--json"))
        assert (found["answer"], found["aliases"]["production"]["moves"]) == ("no", [])
        assert "000001.json cannot be read" in found["aliases"]["production"]["problems"][0]

    def test_an_unknown_alias(self, ask: Ask) -> None:
        """There are two aliases."""
        assert facts(ask("history", "champion", "--json"))["error"].startswith("There is no alias 'champion'")


class TestSignAndVerify:
    """Signatures of versions that are there."""

    def test_verified(self, ask: Ask, world: World) -> None:
        """A version that was signed when it was made is verified, with the key."""
        version = world.add()
        result = ask("verify", "1")
        told = "The signature of version 1 of 'small_model': verified, by signing.pub\n"
        assert (result.exit_code, result.stdout) == (0, told)
        expected = {"version": "1", "digest": version.digest, "signature": "verified", "detail": "by signing.pub"}
        assert facts(ask("verify", "1", "--json")) == {"answer": "yes", **expected}

    def test_signed_later(self, ask: Ask, world: World) -> None:
        """A version without a signature is refused, signed, and then loads."""
        version = world.add(keys=Keys(world.folder / "nowhere"))
        before, signed, after = (ask(*command) for command in (("verify", "1"), ("sign", "1"), ("verify", "1")))
        assert [1, 0, 0] == [before.exit_code, signed.exit_code, after.exit_code]
        assert before.stdout == "The signature of version 1 of 'small_model': refused, it is not signed\n"
        assert signed.stdout.startswith("Signed version 1 of 'small_model', with these files: MLmodel, conda.yaml, ")
        MlflowClient().set_registered_model_alias(NAME, "production", "1")
        assert versions.load(NAME, "production", world.keys).model.digest == version.digest

    @pytest.mark.parametrize("file", ["model.onnx", "evaluation.json", "MLmodel"])
    def test_changed(self, ask: Ask, world: World, file: str) -> None:
        """A changed file is refused, by name."""
        path = world.stored(world.add()).path / file
        path.write_bytes(path.read_bytes() + b" ")
        result = ask("verify", "1")
        assert (result.exit_code, file in result.stdout) == (1, True)

    def test_without_a_key(self, ask: Ask, world: World) -> None:
        """Without a key nobody can tell; nor sign."""
        world.add()
        on = replace(world, keys=Keys(Path("nowhere")))
        result = ask("verify", "1", on=on)
        assert (result.exit_code, "unchecked, There is no key to verify" in result.stdout) == (2, True)
        refused = ask("sign", "1", on=on)
        assert (refused.exit_code, "There is no key to verify" in refused.stderr) == (2, True)  # what it would replace
        (world.stored(versions.find(NAME, "1")).path / "model.sig").unlink()
        unsigned = ask("sign", "1", on=on)
        assert (unsigned.exit_code, "There is no key to sign with" in unsigned.stderr) == (2, True)

    @pytest.mark.parametrize("is_signed", [True, False])
    @pytest.mark.parametrize(
        ("file", "reason"),
        [("evil.pkl", r"Extra files found.*evil\.pkl|files that no run wrote: evil\.pkl"), ("model_card.md", "card")],
    )
    def test_what_was_changed_is_not_signed(
        self, ask: Ask, world: World, file: str, reason: str, is_signed: bool
    ) -> None:
        """Nobody gives a folder a new signature after a file was changed or added; the old one stays as evidence."""
        folder = world.stored(world.add())
        (folder.path / file).write_bytes(b"changed")
        before = folder.read("model.sig")
        if not is_signed:
            (folder.path / "model.sig").unlink()
        refused = ask("sign", "1")
        assert (refused.exit_code, bool(re.search(reason, refused.stderr))) == (2, True)
        assert "kedro model sign" not in refused.stderr
        assert before == folder.read("model.sig") if is_signed else not folder.is_signed

    def test_another_model_is_not_signed(self, ask: Ask, world: World) -> None:
        """What is not the registered model gets no signature."""
        version = world.add()
        folder = world.stored(version)
        before = folder.read("model.sig")
        (folder.path / "model.onnx").write_bytes(candidates.small_model(0.75).content)
        result = ask("sign", "1")
        assert (result.exit_code, result.stdout, folder.read("model.sig")) == (2, "", before)
        assert "Version 1 of 'small_model' is damaged" in result.stderr

    @pytest.mark.parametrize("command", ["sign", "verify"])
    def test_without_artifacts(self, ask: Ask, world: World, command: str) -> None:
        """A version whose files are gone can be neither signed nor verified."""
        place = world.stored(world.add()).path
        place.rename(place.with_name("away"))
        result = ask(command, "1")
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
        assert "The artifacts of version 1 of 'small_model' cannot be fetched" in result.stderr


class TestTrace:
    """From an answer back to where it came from."""

    def test_lines(self, ask: Ask, world: World) -> None:
        """The answer leads to version, run, commit, data, parameters, environment and verdicts."""
        version = world.add()
        world.decide(version)
        result = ask("trace", logged(world, version))
        assert result.exit_code == 0
        run = candidates.run()
        expected = [
            "Answer      0.250000 -> no, at 2013-12-01T08:00:05+00:00",
            "Request     row 1",
            f"Version     1 of 'small_model', SHA-256 {version.digest}",
            f"Run         {version.run_id}, started 2013-10-01T00:00:00+00:00",
            f"Commit      {run.git.commit} (clean)",
            f"Data        table MD5 {'7ab1' * 8}",
        ]
        lines = result.stdout.splitlines()
        assert expected == lines[: len(expected)]
        assert "Parameter   split.judge_from = 2013-02-15" in lines
        assert lines[-4:] == [
            "Environment Python 3.11.7, Linux",
            f"Lock        SHA-256 {run.environment.lock_sha256}",
            "Verdict     gate for @production: yes",
            "Next        `kedro model audit 1`, `kedro model reproduce 1`",
        ]

    def test_for_programs(self, ask: Ask, world: World) -> None:
        """Programs find the answer and everything of the version."""
        version = world.add(candidates.candidate(dirty=True))
        name = logged(world, version)
        found = facts(ask("trace", name, "--json"))
        assert (found["answer"], found["prediction"]["request_id"], found["digest"]) == ("yes", name, version.digest)
        assert (found["clean"], found["record"]["model_sha256"]) == (False, version.digest)

    def test_of_a_service(self, ask: Ask, world: World) -> None:
        """An answer over HTTP also tells what was asked, how, and what decided."""
        asked = {"inputs": '{"age": 41.50, "job": "métier"}', "protocol": "invocations", "correlation_id": "order 7"}
        name = logged(world, world.add(), **asked, threshold=0.4)
        lines = ask("trace", name).stdout.splitlines()
        assert lines[:3] == [
            "Answer      0.250000 -> no (threshold 0.400000), at 2013-12-01T08:00:05+00:00",
            "Request     row 1, over /invocations, the caller's id order 7",
            'Inputs      {"age": 41.50, "job": "métier"}',
        ]
        told = facts(ask("trace", name, "--json"))["prediction"]
        assert (41.5, "métier", 0.4) == (told["inputs"]["age"], told["inputs"]["job"], told["threshold"])

    def test_of_somebody_elses_log(self, ask: Ask, world: World) -> None:
        """A column of inputs that holds no JSON is told as it is."""
        name = logged(world, world.add(), inputs="age 41")
        assert "Inputs      age 41" in ask("trace", name).stdout.splitlines()
        assert "age 41" == facts(ask("trace", name, "--json"))["prediction"]["inputs"]

    def test_of_a_batch_run(self, ask: Ask, world: World) -> None:
        """Its inputs lie in the catalog: nothing is told of them."""
        name = logged(world, world.add())
        assert not [line for line in ask("trace", name).stdout.splitlines() if line.startswith("Inputs")]
        assert facts(ask("trace", name, "--json"))["prediction"]["inputs"] is None

    @pytest.mark.parametrize(("dirty", "told"), [("true", "(dirty)"), (None, "(unknown whether clean)")])
    def test_says_whether_it_was_clean(self, ask: Ask, world: World, dirty: str | None, told: str) -> None:
        """What is not known is not told as dirty."""
        name = logged(world, world.add())
        if dirty:
            MlflowClient().set_model_version_tag(NAME, "1", "git.dirty", dirty)
        else:
            MlflowClient().delete_model_version_tag(NAME, "1", "git.dirty")
        (line,) = [line for line in ask("trace", name).stdout.splitlines() if line.startswith("Commit")]
        assert line.endswith(told)

    @pytest.mark.parametrize(
        ("name", "told"), [("7", "'7' is no request id"), (f"20131201-{'0' * 32}", "No answer in the prediction log")]
    )
    def test_no_answer(self, ask: Ask, world: World, name: str, told: str) -> None:
        """A malformed id, and one that no answer has, are told apart."""
        logged(world, world.add())
        result = ask("trace", name)
        assert (result.exit_code, result.stdout, told in result.stderr) == (2, "", True)
        assert told in facts(ask("trace", name, "--json"))["error"]

    def test_another_digest(self, ask: Ask, world: World) -> None:
        """A version whose model changed since is not told as the one that answered."""
        version = world.add()
        name = logged(world, version)
        MlflowClient().set_model_version_tag(NAME, "1", "model_sha256", "ab" * 32)
        result = ask("trace", name)
        assert (result.exit_code, result.stdout) == (2, "")
        assert version.digest in result.stderr
        assert "ab" * 32 in result.stderr
