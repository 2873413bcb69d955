"""Who gets an alias, with a real MLflow, real keys and a real history."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import candidates
from candidates import NAME, OPTIONS, PARAMETERS, SEED, TOLERANCE, World
from ml_lifecycle import estimators, export, promotion
from ml_lifecycle.alias_history import AliasHistory, HistoryError, Move, MovedError
from ml_lifecycle.errors import DataContractError
from ml_lifecycle.gate import Answer
from ml_lifecycle.model_version import Candidate
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.parameters import ModelOptions
from ml_lifecycle.promotion import Alias, Application, Decision, PromotionError
from ml_lifecycle.registry import records, versions
from ml_lifecycle.registry.versions import Version
from ml_lifecycle.roles import TableRoles
from ml_lifecycle.signing.keys import SIGNING_KEY, VERIFYING_KEYS, Keys

pytestmark = pytest.mark.filterwarnings("default")  # of third parties; test_lifecycle.py tests that a user sees none


def rules(decision: Decision) -> dict[str, str]:
    """Map the rules that did not say yes to their answers."""
    return {rule.rule: rule.answer.value for rule in decision.against()}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Make an empty registry."""
    monkeypatch.delenv(SIGNING_KEY, raising=False)
    monkeypatch.delenv(VERIFYING_KEYS, raising=False)
    with candidates.world(tmp_path) as made:
        yield made


@pytest.fixture
def judge(model_input: pd.DataFrame) -> pd.DataFrame:
    """Return the judge slice of the customers."""
    return model_input[model_input["row_split"] == "judge"]


@pytest.fixture
def customers(world: World, model_input: pd.DataFrame) -> World:
    """Return an empty registry with the customers' tables."""
    requests = model_input.rename(columns={"row_key": "customer"})[["customer", "age", "balance", "job", "city"]]
    world.tables = {"model_input": model_input, "requests": requests}
    return world


@pytest.fixture(scope="module")
def noise_model(model_input: pd.DataFrame, table_roles: TableRoles, small_models: ModelOptions) -> OnnxModel:
    """A model that has learned from labels dealt at random."""
    train = model_input[model_input["row_split"] == "train"]
    pipeline = estimators.build(small_models.logistic_regression, table_roles.numeric, table_roles.categorical, seed=1)
    dealt = train["row_target"].sample(frac=1, random_state=4).to_numpy()
    fitted = estimators.fit(pipeline, train[table_roles.columns], pd.Series(dealt, index=train.index))
    return export.seal(export.convert(fitted, table_roles), table_roles, threshold=0.4)


@pytest.fixture
def made(judge: pd.DataFrame) -> Callable[..., Candidate]:
    """Make candidates of the customers."""

    def of(model: OnnxModel, **changes: Any) -> Candidate:
        rows = judge.head(20)[model.roles.columns]
        return candidates.candidate(model, rows, changes.pop("judge", judge), **changes)

    return of


class TestGather:
    """What the gate is told."""

    def test_of_a_complete_version(self, world: World) -> None:
        """Everything is known of a version that was just made and has nobody to beat."""
        version = world.add()
        found = world.gather(version)
        assert (found.alias, found.provenance_gaps, found.dirty) == ("production", [], False)
        assert (found.signature, found.signature_detail) == ("verified", "by signing.pub")
        assert found.evaluation == candidates.evaluation(candidates.small_model())
        assert (found.incumbent, found.rows, found.rows_problem, found.tolerance) == (None, None, "", TOLERANCE)
        assert found.latency_ms is not None
        assert 0 < found.latency_ms < 1000

    def test_of_a_dirty_version(self, world: World) -> None:
        """Uncommitted changes are told, and what the record lacks."""
        found = world.gather(world.add(candidates.without_data(candidates.candidate(dirty=True))))
        assert (found.dirty, found.provenance_gaps) == (True, ["the run that made the data"])

    @pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b"{}", None])
    def test_an_unreadable_record(self, world: World, content: bytes | None) -> None:
        """Without a record nothing is known of gaps and changes, which is never a yes."""
        version = world.add()
        path = world.stored(version).path / "provenance.json"
        path.unlink() if content is None else path.write_bytes(content)
        found = world.gather(version)
        assert (found.provenance_gaps, found.dirty, found.signature) == (None, None, "refused")
        world.stored(version).sign(world.keys)
        assert rules(world.decide(version)) == {"provenance": "cannot decide", "clean_tree": "cannot decide"}

    def test_the_evaluation_of_another_model(self, world: World) -> None:
        """Figures of another model count as none, however good and well signed they are."""
        version = world.add(candidates.candidate(model_sha256="ab" * 32))
        found = world.gather(version)
        assert (found.evaluation, found.signature) == (None, "verified")
        assert {"parity": "cannot decide", "floors": "cannot decide", "baselines": "cannot decide"} == rules(
            world.decide(version)
        )

    @pytest.mark.parametrize("content", [b"{", b"[]", b"[1, 2]", b"7", b"null", b"\xff", None])
    def test_an_unreadable_evaluation(self, world: World, content: bytes | None) -> None:
        """An evaluation that cannot be read counts as none."""
        version = world.add()
        path = world.stored(version).path / "evaluation.json"
        path.unlink() if content is None else path.write_bytes(content)
        assert world.gather(version).evaluation is None

    def test_unsigned(self, world: World) -> None:
        """A version without a signature is refused, with or without a key to verify with."""
        version = world.add(keys=Keys(world.folder / "nowhere"))
        without = dataclasses.replace(world.registrar, keys=Keys(world.folder / "nowhere"))
        found = [promotion.gather(version, "staging", who, world.circumstances) for who in (world.registrar, without)]
        assert [("refused", "it is not signed")] * 2 == [(each.signature, each.signature_detail) for each in found]

    def test_unchecked(self, world: World) -> None:
        """Without a key to verify with, nobody can tell: that is no refusal, and no yes."""
        without = dataclasses.replace(world.registrar, keys=Keys(world.folder / "nowhere"))
        found = promotion.gather(world.add(), "staging", without, world.circumstances)
        assert (found.signature, "no key to verify" in found.signature_detail) == ("unchecked", True)

    def test_signed_by_others(self, world: World) -> None:
        """The signature of a key that is not trusted is refused."""
        found = world.gather(world.add(keys=candidates.keys(world.folder, "others")))
        assert (found.signature, "a key that is not trusted" in found.signature_detail) == ("refused", True)

    @pytest.mark.parametrize("content", [b"no ONNX", b"", None])
    def test_a_damaged_model(self, world: World, content: bytes | None) -> None:
        """A model that is not the registered one is refused; it is not timed, and nothing breaks off."""
        version = world.add()
        path = world.stored(version).path / "model.onnx"
        path.unlink() if content is None else path.write_bytes(content)
        found = world.gather(version)
        assert (found.latency_ms, found.signature) == (None, "refused")
        unknown = dict.fromkeys(("baselines", "latency"), "cannot decide")
        assert rules(world.decide(version)) == {"signature": "no", **unknown}

    def test_another_model_that_is_signed(self, world: World) -> None:
        """A model that a trusted key signed, but that is not the registered one, is not timed."""
        version = world.add()
        (world.stored(version).path / "model.onnx").write_bytes(candidates.small_model(0.75).content)
        world.stored(version).sign(world.keys)
        found = world.gather(version)
        assert (found.latency_ms, found.signature) == (None, "verified")

    @pytest.mark.parametrize("column", ["share", "carrier"])
    def test_a_damaged_probe_set(self, world: World, column: str) -> None:
        """A probe set without a feature cannot be timed."""
        version = world.add()
        probe = world.stored(version).probe()
        probe.drop(columns=column).to_parquet(world.stored(version).path / "probe_set.parquet")
        assert world.gather(version).latency_ms is None

    def test_both_are_scored_now(
        self, customers: World, made: Callable[..., Candidate], onnx_model: OnnxModel, noise_model: OnnxModel
    ) -> None:
        """With somebody in place, the judge rows carry the answers of both."""
        customers.promote(customers.add(made(noise_model)))
        found = customers.gather(customers.add(made(onnx_model)))
        assert found.rows is not None
        judge = customers.table("model_input").query("row_split == 'judge'")
        for name, model in (("challenger", onnx_model), ("incumbent", noise_model)):
            expected = model.predict(promotion.feature_columns(judge, model.roles))
            np.testing.assert_array_equal(expected, found.rows[name])
        assert (found.incumbent, found.rows_problem) == ("1", "")

    def test_of_the_alias_that_is_asked_for(
        self, customers: World, made: Callable[..., Candidate], onnx_model: OnnxModel, noise_model: OnnxModel
    ) -> None:
        """Compared with is who has the alias, not who has the other one."""
        customers.promote(customers.add(made(noise_model)), "staging")
        version = customers.add(made(onnx_model))
        assert [customers.gather(version, alias).incumbent for alias in promotion.ALIASES] == ["1", None]

    @pytest.mark.parametrize(
        ("file", "problem"),
        [
            ("model.sig", "Version 1 of 'small_model' is refused: it is not signed"),
            ("model.onnx", "it is not what was signed"),
            (".", "The artifacts of version 1 of 'small_model' cannot be fetched"),
        ],
    )
    def test_the_incumbent_cannot_be_loaded(
        self,
        customers: World,
        made: Callable[..., Candidate],
        onnx_model: OnnxModel,
        noise_model: OnnxModel,
        file: str,
        problem: str,
    ) -> None:
        """An incumbent that cannot score leaves the question open, and says why."""
        customers.promote(incumbent := customers.add(made(noise_model)))
        path = customers.stored(incumbent).path / file
        path.unlink() if file != "." else path.resolve().rename(path.resolve().with_name("away"))
        version = customers.add(made(onnx_model))
        found = customers.gather(version)
        assert (found.rows, problem in found.rows_problem) == (None, True)
        open_rules = ["question"] * (file == ".") + ["incumbent", "slices"]
        assert rules(customers.decide(version)) == dict.fromkeys(open_rules, "cannot decide")

    @pytest.mark.parametrize("table", ["model_input", "requests"])
    def test_a_missing_table(
        self,
        customers: World,
        made: Callable[..., Candidate],
        onnx_model: OnnxModel,
        noise_model: OnnxModel,
        table: str,
    ) -> None:
        """Without the tables nobody can compare."""
        customers.promote(customers.add(made(noise_model)))
        del customers.tables[table]
        found = customers.gather(customers.add(made(onnx_model)))
        assert (found.rows, found.rows_problem) == (None, f"the table '{table}' cannot be loaded")

    def test_a_damaged_challenger(
        self, customers: World, made: Callable[..., Candidate], onnx_model: OnnxModel, noise_model: OnnxModel
    ) -> None:
        """A challenger that is not the registered model is not compared."""
        customers.promote(customers.add(made(noise_model)))
        version = customers.add(made(onnx_model))
        (customers.stored(version).path / "model.onnx").write_bytes(b"no ONNX")
        found = customers.gather(version)
        assert (
            found.rows,
            "Version 2 of 'small_model' is refused: it is not what was signed" in found.rows_problem,
        ) == (None, True)

    def test_does_not_change_the_tables(
        self,
        customers: World,
        made: Callable[..., Candidate],
        onnx_model: OnnxModel,
        noise_model: OnnxModel,
        freeze: Callable[[Any], Any],
    ) -> None:
        """The tables are as before."""
        customers.promote(customers.add(made(noise_model)))
        before = freeze(customers.tables)
        customers.gather(customers.add(made(onnx_model)))
        assert before == freeze(customers.tables)


class TestDecide:
    """What the gate says, and what is kept of it."""

    def test_a_truly_better_one(
        self, customers: World, made: Callable[..., Candidate], onnx_model: OnnxModel, noise_model: OnnxModel
    ) -> None:
        """A model that has learned beats one that has not: the gate says yes, with numbers, and it is promoted."""
        customers.promote(customers.add(made(noise_model)))
        version = customers.add(made(onnx_model))
        decision = customers.decide(version)
        assert (decision.answer, decision.moves, decision.forced, rules(decision)) == (Answer.YES, True, False, {})
        (rule,) = [rule for rule in decision.rules if rule.rule == "incumbent"]
        assert rule.figures["low"] > OPTIONS.needed_gain
        assert rule.figures["challenger"] > rule.figures["incumbent"]
        assert rule.explanation.startswith("gain over version 1 in roc_auc: 0.")
        move = customers.registrar.move(version, decision)
        assert (move.found, move.to, move.action, move.forced) == ("1", "2", "promote", False)
        assert versions.aliases(NAME) == {"production": "2"}
        assert customers.problems() == []

    def test_a_worse_one(
        self, customers: World, made: Callable[..., Candidate], onnx_model: OnnxModel, noise_model: OnnxModel
    ) -> None:
        """The other way round the gate says no, with numbers, whatever the evaluation says of itself."""
        customers.promote(customers.add(made(onnx_model)))
        decision = customers.decide(customers.add(made(noise_model)))
        assert (decision.answer, decision.moves, decision.incumbent) == (Answer.NO, False, "1")
        assert decision.incumbent_digest == onnx_model.digest
        (rule,) = [rule for rule in decision.rules if rule.rule == "incumbent"]
        assert rule.figures["high"] < 0
        assert str(decision).startswith("no: incumbent: gain over version 1 in roc_auc: -0.")

    def test_the_same_model_again(
        self, customers: World, made: Callable[..., Candidate], onnx_model: OnnxModel
    ) -> None:
        """A model is not better than itself."""
        customers.promote(customers.add(made(onnx_model)))
        assert rules(customers.decide(customers.add(made(onnx_model)))) == {"incumbent": "no"}

    def test_an_incumbent_judged_on_later_rows(
        self,
        customers: World,
        made: Callable[..., Candidate],
        onnx_model: OnnxModel,
        noise_model: OnnxModel,
        judge: pd.DataFrame,
    ) -> None:
        """Compared is on the rows that the incumbent has not learned from, and their number is told."""
        parameters = PARAMETERS | {"split": {"judge_from": "2013-02-18"}}
        later = judge[judge["row_time"] >= "2013-02-18"]
        customers.promote(customers.add(made(noise_model, judge=later, parameters=parameters)))
        decision = customers.decide(customers.add(made(onnx_model)))
        (rule,) = [rule for rule in decision.rules if rule.rule == "incumbent"]
        assert rule.figures["rows"] == len(later) < len(judge)
        assert rule.figures["blocks"] == 12

    @pytest.mark.parametrize("floor", [0.6, 0.9])
    def test_keeps_the_answer_whatever_it_is(self, world: World, floor: float) -> None:
        """A yes and a no are kept with the version: a file with the told SHA-256, and a tag."""
        version = world.add()
        options = OPTIONS.model_copy(update={"floors": {"roc_auc": floor}})
        asked = Application("to see what it says")
        decision = promotion.decide(version, world.gather(version), options, SEED, asked)
        assert decision.answer is (Answer.YES if floor < 0.8 else Answer.NO)
        (record,) = records.of(version, records.DECISION)
        content = world.kept(record).read_bytes()
        assert hashlib.sha256(content).hexdigest() == record.sha256 == decision.sha256
        kept = json.loads(content)
        assert (kept["answer"], kept["alias"], kept["reason"]) == (decision.answer, "production", "to see what it says")
        assert kept["options"] == options.model_dump(mode="json")
        assert [rule["rule"] for rule in kept["rules"]] == [rule.rule for rule in decision.rules]
        assert versions.find(NAME, "1").tags["decision.production"] == str(decision)
        assert versions.aliases(NAME) == {}

    def test_a_long_answer_fits_into_the_tag(self, world: World) -> None:
        """MLflow takes only so much; the file holds it all."""
        version = world.add()
        evidence = dataclasses.replace(world.gather(version), signature="refused", signature_detail="x" * 9000)
        promotion.decide(version, evidence, OPTIONS, SEED, Application())
        (record,) = records.of(version, records.DECISION)
        assert len(versions.find(NAME, "1").tags["decision.production"]) == promotion.TAG_LENGTH
        assert "x" * 9000 in json.dumps(record.content)


class TestForce:
    """What a person may overrule."""

    def test_moves_and_is_recorded(self, world: World) -> None:
        """A forced move is one in decision, tag and history, with its reason."""
        version = world.add(candidates.candidate(dirty=True))
        decision = world.decide(version, force=True, reason="the fix cannot wait")
        assert (decision.answer, decision.forced, decision.moves) == (Answer.NO, True, True)
        move = world.registrar.move(version, decision)
        assert (move.forced, move.reason, move.decision_sha256) == (True, "the fix cannot wait", decision.sha256)
        (record,) = records.of(version, records.DECISION)
        assert ((record.content or {})["forced"], versions.aliases(NAME)) == (True, {"production": "1"})
        told = versions.find(NAME, "1").tags["decision.production"]
        assert told.startswith("no (forced: the fix cannot wait): clean_tree: made with uncommitted changes")

    def test_needs_no_force(self, world: World) -> None:
        """Where the gate says yes, nothing is forced."""
        decision = world.decide(world.add(), force=True, reason="to be sure")
        assert (decision.answer, decision.forced) == (Answer.YES, False)

    def test_without_force(self, world: World) -> None:
        """Without it a no is a no."""
        decision = world.decide(world.add(candidates.candidate(dirty=True)))
        assert (decision.forced, decision.moves) == (False, False)

    @pytest.mark.parametrize("key", ["nowhere", "others"])
    def test_does_not_help_without_a_signature(self, world: World, key: str) -> None:
        """What cannot be loaded gets no alias, by nobody; that is kept, too."""
        version = world.add(keys=Keys(world.folder / key) if key == "nowhere" else candidates.keys(world.folder, key))
        decision = world.decide(version, force=True, reason="please")
        assert (decision.answer, decision.forced, decision.moves) == (Answer.NO, False, False)
        assert len(records.of(version, records.DECISION)) == 1

    def test_does_not_help_if_nobody_can_verify(self, world: World) -> None:
        """Without a key to verify with, force does not help either."""
        version = world.add()
        without = dataclasses.replace(world, registrar=dataclasses.replace(world.registrar, keys=Keys(Path("nowhere"))))
        decision = without.decide(version, force=True, reason="please")
        assert (decision.answer, decision.moves, rules(decision)) == (
            Answer.CANNOT,
            False,
            dict.fromkeys(("signature", "baselines", "latency"), "cannot decide"),
        )


class TestMove:
    """The alias follows the decision, unless somebody was faster."""

    def test_says_who_and_why(self, world: World) -> None:
        """The history tells the move, with the digests of model and decision."""
        version = world.add()
        decision = world.decide(version, "staging", reason="a first look")
        world.registrar.move(version, decision)
        (move,) = world.registrar.history.read(NAME, "staging")
        assert (move.to, move.to_digest, move.found) == ("1", version.digest, None)
        assert (move.action, move.reason, move.decision_sha256) == ("promote", "a first look", decision.sha256)
        assert (versions.aliases(NAME), world.problems()) == ({"staging": "1"}, [])

    def test_somebody_was_faster(self, world: World) -> None:
        """Who was compared with a version that is in place no more gets nothing; that is kept with the version."""
        slow, fast = world.add(), world.add(candidates.candidate(candidates.small_model(0.75)))
        decision = world.decide(slow)
        world.promote(fast)
        with pytest.raises(MovedError, match="was moved by somebody else meanwhile"):
            world.registrar.move(slow, decision)
        assert versions.aliases(NAME) == {"production": "2"}
        (record,) = records.of(slow, records.OVERTAKEN)
        content = record.content or {}
        assert (content["alias"], content["decision_sha256"]) == ("production", decision.sha256)
        assert versions.find(NAME, "1").tags["decision.production"] == "overtaken"
        assert records.of(fast, records.OVERTAKEN) == []
        assert world.problems() == []

    def test_a_damaged_history_moves_nothing(self, world: World) -> None:
        """Where the last move cannot be read nothing is moved, and nobody was overtaken."""
        version = world.add()
        world.promote(version)
        (path,) = (world.folder / "history").rglob("000001.json")
        path.write_text("{", encoding="utf-8")
        other = world.add(candidates.candidate(candidates.small_model(0.75)))
        decision = world.decide(other, force=True, reason="for this test")
        with pytest.raises(HistoryError, match="cannot be read"):
            world.registrar.move(other, decision)
        assert (versions.aliases(NAME), records.of(other, records.OVERTAKEN)) == ({"production": "1"}, [])


class Interrupted(AliasHistory):
    """A history during whose reading somebody else does something, once."""

    meanwhile: Callable[[], Any] | None = None

    def read(self, model: str, alias: str) -> list[Move]:
        """Read, and let the other one be faster."""
        moves = super().read(model, alias)
        action, self.meanwhile = self.meanwhile, None
        if action:
            action()
        return moves


class TestRollBack:
    """An alias goes back, step by step."""

    @pytest.fixture
    def three(self, world: World) -> World:
        """Return a registry whose versions 1, 2 and 3 were in production, one after the other."""
        for threshold in (0.25, 0.5, 0.75):
            world.promote(world.add(candidates.candidate(candidates.small_model(threshold))))
        return world

    def test_twice(self, three: World) -> None:
        """The second rollback goes a second step back; history and MLflow agree."""
        moves = [three.registrar.roll_back("production", "it was worse") for _ in range(2)]
        assert [("3", "2"), ("2", "1")] == [(move.found, move.to) for move in moves]
        assert [("rollback", "it was worse", None)] * 2 == [(m.action, m.reason, m.decision_sha256) for m in moves]
        assert moves[1].to_digest == candidates.small_model(0.25).digest
        assert (versions.aliases(NAME), three.problems()) == ({"production": "1"}, [])

    def test_no_further_than_the_first(self, three: World) -> None:
        """Before the first there is nothing."""
        for _ in range(2):
            three.registrar.roll_back("production", "")
        with pytest.raises(
            PromotionError, match=r"nothing to roll @production.*before version 1\..*`kedro model promote`"
        ):
            three.registrar.roll_back("production", "")
        assert (versions.aliases(NAME), three.problems()) == ({"production": "1"}, [])

    def test_promotion_after_a_rollback(self, three: World) -> None:
        """After a rollback and a promotion, the next rollback goes back to where the promotion started."""
        three.registrar.roll_back("production", "")
        three.promote(versions.find(NAME, "1"))
        assert three.registrar.roll_back("production", "").to == "2"
        assert three.problems() == []

    def test_an_alias_that_nobody_has(self, world: World) -> None:
        """Without a move there is nothing to go back to."""
        with pytest.raises(PromotionError, match="There is nothing to roll @staging of 'small_model' back to"):
            world.registrar.roll_back("staging", "")

    def test_the_other_alias_stays(self, three: World) -> None:
        """Only the alias that is named moves."""
        three.promote(versions.find(NAME, "3"), "staging")
        three.registrar.roll_back("production", "")
        assert versions.aliases(NAME) == {"production": "2", "staging": "3"}

    def test_somebody_else_moves_meanwhile(self, three: World) -> None:
        """Who rolls version 3 back does not undo the promotion that somebody else makes at this moment."""
        fourth = three.add(candidates.candidate(candidates.small_model(0.9)))
        history = Interrupted(str(three.folder / "history"))
        history.meanwhile = lambda: three.promote(fourth)
        with pytest.raises(MovedError, match="was moved by somebody else meanwhile"):
            dataclasses.replace(three.registrar, history=history).roll_back("production", "")
        assert (versions.aliases(NAME), three.problems()) == ({"production": "4"}, [])


class TestPromoteFirst:
    """The only promotion that no person decides."""

    def first(self, world: World, version: Version, policy: Any = "any_tree", **gate: Any) -> str:
        """Let the first version have the aliases."""
        parameters = PARAMETERS | {"gate": PARAMETERS["gate"] | gate}
        return promotion.promote_first(world.registrar, version.number, policy, parameters)

    @pytest.mark.parametrize("policy", ["any_tree", "clean_tree"])
    def test_a_clean_version_gets_both(self, world: World, policy: str) -> None:
        """Made from a commit, the first version gets both aliases by a yes of the gate."""
        version = world.add()
        told = self.first(world, version, policy)
        assert told == "promoted to staging and production: the first version, and the gate says yes"
        assert versions.aliases(NAME) == {"staging": "1", "production": "1"}
        assert versions.find(NAME, "1").decision == told
        moves = [world.registrar.history.read(NAME, alias) for alias in promotion.ALIASES]
        assert [[("first", False, "the first version")]] * 2 == [
            [(m.action, m.forced, m.reason) for m in s] for s in moves
        ]
        kept = {record.sha256 for record in records.of(version, records.DECISION)}
        assert kept == {move.decision_sha256 for (move,) in moves}
        assert world.problems() == []

    def test_a_dirty_version_is_forgiven(self, world: World) -> None:
        """With any_tree, uncommitted changes alone do not keep the first version from production; that is recorded."""
        version = world.add(candidates.candidate(dirty=True))
        told = self.first(world, version)
        assert told.startswith(
            "promoted to staging and production: the first version, and the gate says no (forgiven, "
        )
        assert versions.aliases(NAME) == {"staging": "1", "production": "1"}
        forgiven = {(r.content or {})["alias"]: (r.content or {})["forgiven"] for r in records.of(version, "decision")}
        assert forgiven == {"staging": [], "production": ["clean_tree"]}

    def test_a_dirty_version_is_not_forgiven(self, world: World) -> None:
        """With clean_tree it stays in staging, which asks for no commit."""
        told = self.first(world, world.add(candidates.candidate(dirty=True)), "clean_tree")
        assert told.startswith("promoted to staging, not promoted to production: no: clean_tree: made with uncommitted")
        assert versions.aliases(NAME) == {"staging": "1"}
        assert world.problems() == []

    def test_only_the_tree_is_forgiven(self, world: World) -> None:
        """A second rule that says no is one too many."""
        told = self.first(world, world.add(candidates.candidate(dirty=True)), floors={"roc_auc": 0.9})
        assert "not promoted to staging: no: floors: roc_auc 0.8000, needed: at least 0.9" in told
        assert versions.aliases(NAME) == {}

    @pytest.mark.parametrize("clean_tree", [["staging", "production"], ["production"]])
    def test_only_if_nothing_else_is_open(self, world: World, clean_tree: list[str]) -> None:
        """A dirty version that also lacks a record of its data is not forgiven anything."""
        version = world.add(candidates.without_data(candidates.candidate(dirty=True)))
        assert "not promoted to staging: no: provenance" in self.first(world, version, clean_tree=clean_tree)
        assert versions.aliases(NAME) == {}

    def test_an_unsigned_version(self, world: World) -> None:
        """Without a signature the first version gets nothing."""
        version = world.add(keys=Keys(world.folder / "nowhere"))
        assert self.first(world, version).startswith(
            "not promoted to staging: no: signature: refused: it is not signed"
        )
        assert versions.aliases(NAME) == {}

    def test_never(self, world: World) -> None:
        """Nothing is promoted, decided or written."""
        version = world.add()
        assert self.first(world, version, "never") == "undecided"
        assert (versions.aliases(NAME), records.of(version, records.DECISION)) == ({}, [])
        assert "promotion" not in versions.find(NAME, "1").tags

    def test_decides_once(self, world: World) -> None:
        """A run that goes on after a fault finds what was decided, and decides nothing again."""
        version = world.add()
        told = [self.first(world, version) for _ in range(2)]
        assert told[0] == told[1]
        assert len(records.of(version, records.DECISION)) == 2
        assert [len(world.registrar.history.read(NAME, alias)) for alias in promotion.ALIASES] == [1, 1]

    def test_goes_on_in_the_middle(self, world: World) -> None:
        """A run that broke off between the two aliases gives the second one when it goes on."""
        version = world.add()
        world.promote(version, "staging")
        assert self.first(world, version) == "promoted to production: the first version, and the gate says yes"
        assert (versions.aliases(NAME), world.problems()) == ({"staging": "1", "production": "1"}, [])

    def test_leaves_a_version_alone_that_somebody_promoted(self, world: World) -> None:
        """A version that a person promoted before the run could decide does not stand in its own way."""
        version = world.add()
        world.promote(version)
        assert self.first(world, version) == "undecided"
        assert "promotion" not in versions.find(NAME, "1").tags

    def test_leaves_an_incumbent(self, world: World) -> None:
        """With a version in production the next one waits for a person, and says how to ask."""
        self.first(world, world.add())
        second = world.add(candidates.candidate(candidates.small_model(0.75)))
        told = self.first(world, second)
        assert told == (
            "not promoted: version 1 is in production; compare them: `kedro model promote 2 --to production`"
        )
        assert versions.find(NAME, "2").decision == told
        assert versions.aliases(NAME) == {"staging": "1", "production": "1"}

    def test_the_second_if_the_first_was_refused(self, world: World) -> None:
        """The first version that the gate lets through need not be version 1."""
        doubtful = {"prevalence": {"roc_auc": candidates.DOUBTFUL, "log_loss": candidates.BETTER}}
        refused = world.add(candidates.candidate(improvements=doubtful))
        assert "not promoted to staging: no: baselines: gain over prevalence in roc_auc" in self.first(world, refused)
        self.first(world, world.add(candidates.candidate(candidates.small_model(0.75))))
        assert versions.aliases(NAME) == {"staging": "2", "production": "2"}

    def test_a_version_in_staging_stays(self, world: World) -> None:
        """Who has staging keeps it; only production is given."""
        world.promote(world.add(), "staging")
        second = world.add(candidates.candidate(candidates.small_model(0.75)))
        self.first(world, second)
        assert versions.aliases(NAME) == {"staging": "1", "production": "2"}

    def test_reads_no_table(self, world: World) -> None:
        """A first version has nobody to beat; the tables are not even there."""
        with pytest.raises(DataContractError, match="requests is not read for a first version"):
            promotion._no_table("requests")


def test_time_of_one_is_that_of_single_rows() -> None:
    """Each row of the probe is asked for alone, after the other."""
    asked: list[int] = []

    class Counting(OnnxModel):
        def predict(self, columns: Any) -> Any:
            asked.append(len(columns["share"]))
            return super().predict(columns)

    model = Counting(candidates.small_model().content)
    assert 0 < promotion.time_of_one(model, candidates.small_rows()) < 1000
    assert asked == [1, 1]


def test_aliases_are_those_of_the_gate() -> None:
    """The aliases that can be given are those that options name."""
    assert promotion.ALIASES == Alias.__args__  # type: ignore[attr-defined]


class TestQuestion:
    """Two versions are compared only if they predict the same thing."""

    def test_another_question(self, world: World) -> None:
        """Parameters that say what is predicted, and that differ, are named with both values; nothing is promoted."""
        parameters = {**candidates.PARAMETERS, "asked": {"late_from": 15}}
        world.promote(world.add(candidates.candidate(parameters=parameters)))
        other = {**parameters, "asked": {"late_from": 60}}
        version = world.add(candidates.candidate(candidates.small_model(0.75), parameters=other))
        found = world.gather(version)
        assert found.other_question == ["asked.late_from (60 against 15)"]
        assert rules(world.decide(version))["question"] == "cannot decide"

    def test_the_same_question(self, world: World) -> None:
        """Other parameters may differ."""
        parameters = {**candidates.PARAMETERS, "asked": {"late_from": 15}}
        world.promote(world.add(candidates.candidate(parameters=parameters)))
        other = {**parameters, "model": "another"}
        version = world.add(candidates.candidate(candidates.small_model(0.75), parameters=other))
        assert world.gather(version).other_question == []
