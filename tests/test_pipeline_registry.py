"""The pipelines by name."""

from collections.abc import Mapping

import pytest
from kedro.pipeline import Pipeline

from ml_lifecycle.pipeline_registry import register_pipelines


@pytest.fixture(scope="module")
def pipelines() -> Mapping[str, Pipeline]:
    """Return the registered pipelines."""
    return register_pipelines()


def names(pipeline: Pipeline) -> set[str]:
    """Name the nodes of a pipeline."""
    return {node.name for node in pipeline.nodes}


def test_names(pipelines: Mapping[str, Pipeline]) -> None:
    """These pipelines can be run by name."""
    assert {"data_engineering", "training", "serving", "tabular", "__default__"} == set(pipelines)


def test_default_runs_all_three(pipelines: Mapping[str, Pipeline]) -> None:
    """The default is data engineering, training and serving."""
    together = names(pipelines["data_engineering"]) | names(pipelines["training"]) | names(pipelines["serving"])
    assert together == names(pipelines["__default__"])


def test_default_scores_after_registering(pipelines: Mapping[str, Pipeline]) -> None:
    """In one run, serving waits for the model that training registers."""
    order = [node.name for node in pipelines["__default__"].nodes]
    assert order.index("package_model") < order.index("score")


def test_own_table_shares_training_and_serving(pipelines: Mapping[str, Pipeline]) -> None:
    """A table of one's own runs through the same nodes of training and serving."""
    assert names(pipelines["training"]) | names(pipelines["serving"]) <= names(pipelines["tabular"])


def test_own_table_knows_no_flights(pipelines: Mapping[str, Pipeline]) -> None:
    """A table of one's own needs no dataset and no parameter of the flights."""
    assert not {"flights", "params:flights", "params:features"} & pipelines["tabular"].inputs()


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("data_engineering", {"flights", "weather", "planes", "airports", "airlines", "raw_inputs", "run_record"}),
        ("training", {"model_input", "table_roles", "data_report", "data_record", "run_record"}),
        ("serving", {"requests", "registered_model", "run_record"}),
        ("tabular", {"table", "raw_inputs", "run_record"}),
    ],
)
def test_inputs(pipelines: Mapping[str, Pipeline], name: str, inputs: set[str]) -> None:
    """Each pipeline needs these datasets from outside."""
    assert inputs == {dataset for dataset in pipelines[name].inputs() if not dataset.startswith("params:")}


def test_nodes_are_named_after_their_function(pipelines: Mapping[str, Pipeline]) -> None:
    """The name of a node is that of its function, so that a log line leads to the code."""
    nodes = pipelines["__default__"].nodes + pipelines["tabular"].nodes
    assert [node.func.__name__ for node in nodes] == [node.name for node in nodes]
