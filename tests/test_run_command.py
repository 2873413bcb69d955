"""A run as the command that repeats it."""

import shlex
from typing import Any

import pytest
from kedro.framework.cli.project import run as kedro_run

from ml_lifecycle import run_command

NO_OPTIONS = dict.fromkeys(
    (
        *("env", "pipeline_names", "runtime_params", "from_nodes", "to_nodes", "node_names", "from_inputs"),
        *("to_outputs", "namespaces", "tags", "only_missing_outputs"),
    ),
    None,
)


@pytest.mark.parametrize(
    ("run_params", "command"),
    [
        ({}, "kedro run"),
        ({"env": "minio", "pipeline_names": ["a", "b"]}, "kedro run --env minio --pipelines a,b"),
        ({"runtime_params": {"model": {"estimator": "x", "n": {"m": 1}}, "seed": 7}},
         "kedro run --params model.estimator=x,model.n.m=1,seed=7"),
        ({"runtime_params": {"title": "two words"}}, "kedro run --params 'title=two words'"),
        ({"from_nodes": ["a"], "to_nodes": ["b"], "node_names": ("c",), "tags": ("d", "e")},
         "kedro run --from-nodes a --to-nodes b --nodes c --tags d,e"),
        ({"from_inputs": ["f"], "to_outputs": ["g"], "namespaces": ["h"], "only_missing_outputs": True},
         "kedro run --from-inputs f --to-outputs g --namespaces h --only-missing-outputs"),
    ],
)  # fmt: skip
def test_a_run_as_a_command(run_params: dict[str, Any], command: str) -> None:
    """Every option of the run is in the command that repeats it."""
    assert command == run_command.write({**NO_OPTIONS, **run_params})


@pytest.mark.parametrize(
    "value",
    ["plain", "two words", "1", 1, 0.25, None, "null", True, "true", "", ["x"], "2013-08-01", "it's", "a: b", "#"],
)
def test_a_parameter_is_read_back(value: Any) -> None:
    """What `--params` of the command gives is what the run had, of the same type."""
    command = run_command.write({**NO_OPTIONS, "runtime_params": {"model": {"name": value}}})
    words = shlex.split(command)
    options = kedro_run.make_context("run", words[2:])
    assert {"model": {"name": value}} == options.params["params"]
    assert type(value) is type(options.params["params"]["model"]["name"])
