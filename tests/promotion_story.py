"""A worse challenger, a better one, and the way back: the same story in every environment."""

import json
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

Command = Callable[..., "CompletedProcess[str]"]
TRAIN = ("kedro", "run", "--pipelines", "data_engineering,training")
WORSE = "model.random_forest.n_estimators=2"
BETTER = "model.random_forest.n_estimators=150,model.random_forest.min_samples_leaf=5"


def _asked(run: Command, code: int, *arguments: str) -> dict[str, Any]:
    result = run("kedro", "model", *arguments, "--json", check=False)
    assert code == result.returncode, f"{result.stdout}\n{result.stderr[-3000:]}"
    return dict(json.loads(result.stdout))


def tell(run: Command, environment: str) -> None:
    """Train a worse and a better challenger of version 1, which is in production; ask the gate; go back.

    Args:
        run: runs a command in a project whose version 1 is in production, with ``check=False`` if it may fail.
        environment: of the project.
    """
    env = ("--env", environment)
    first = len(_asked(run, 0, "list", *env)["versions"])
    worse, better = str(first + 1), str(first + 2)
    run(*TRAIN, *env, "--params", WORSE)
    refused = _asked(run, 1, "promote", worse, "--to", "production", *env)
    rules = {rule["rule"]: rule for rule in refused["rules"]}
    assert ("no", False) == (rules["incumbent"]["answer"], refused["moved"])
    figures = rules["incumbent"]["figures"]
    assert figures["value"] < 0
    assert figures["low"] < figures["value"] < figures["high"] < figures["needed"]
    assert f"[{figures['low']:.4f}, {figures['high']:.4f}]" in rules["incumbent"]["explanation"]

    run(*TRAIN, *env, "--params", BETTER)
    promoted = _asked(run, 0, "promote", better, "--to", "production", "--reason", "more trees", *env)
    assert ("yes", "yes", True) == (promoted["answer"], promoted["gate"], promoted["moved"])
    assert (better, "1") == (promoted["move"]["to"], promoted["move"]["found"])
    assert "1" == _asked(run, 0, "rollback", "production", "--reason", "a rehearsal", *env)["move"]["to"]

    moves = _asked(run, 0, "history", "production", *env)["aliases"]["production"]["moves"]
    route = [(move["action"], move["found"], move["to"], move["reason"]) for move in moves]
    assert [
        ("first", None, "1", "the first version"),
        ("promote", "1", better, "more trees"),
        ("rollback", better, "1", "a rehearsal"),
    ] == route
    decided = {
        version: [(kept["alias"], kept["answer"]) for kept in _asked(run, 0, "show", version, *env)["decisions"]]
        for version in (worse, better)
    }
    assert {worse: [("production", "no")], better: [("production", "yes")]} == decided
    for version in ("1", worse, better):
        assert "yes" == _asked(run, 0, "audit", version, *env)["answer"]
