"""From scikit-learn to ONNX, with the same bytes every time."""

import heapq
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pandas as pd
from skl2onnx import convert_sklearn
from skl2onnx.common._registration import get_converter, get_shape_calculator
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline

from ml_lifecycle import estimators
from ml_lifecycle.errors import LifecycleError
from ml_lifecycle.onnx_model import OUTPUT, ROLES, THRESHOLD, OnnxModel
from ml_lifecycle.roles import TableRoles

GRAPH = "classifier"
PROBABILITIES = "probabilities"  # skl2onnx's name for the answers of a classifier, n × 2
OPSET = {"": 18, "ai.onnx.ml": 3}
BOOSTING = "SklearnHistGradientBoostingClassifier"
NOTEWORTHY = 1e-5


class ExportError(LifecycleError):
    """The exported model does not do what the fitted one does."""


class _PlainIntegers:
    """Hands attributes to skl2onnx's container as Python integers.

    skl2onnx 1.20 passes numpy's unsigned and boolean values of boosted trees, which onnx refuses.
    """

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *args: Any, **attributes: Any) -> Any:
        plain = {name: self._plain(value) for name, value in attributes.items()}
        return self._container.add_node(*args, **plain)

    @staticmethod
    def _plain(value: Any) -> Any:
        items = value.tolist() if isinstance(value, np.ndarray) else value
        if not isinstance(items, list):
            return value
        items = [item.item() if isinstance(item, np.generic) else item for item in items]
        return [int(item) if isinstance(item, bool) else item for item in items]


def _convert_boosting(scope: Any, operator: Any, container: Any) -> None:
    get_converter(BOOSTING)(scope, operator, _PlainIntegers(container))


def _in_stable_order(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Order nodes so that each follows its inputs, and by name where that leaves a choice."""
    maker = {output: position for position, node in enumerate(nodes) for output in node.output}
    waits_for = [{maker[name] for name in node.input if name in maker} for node in nodes]
    ready = [(node.name, position) for position, node in enumerate(nodes) if not waits_for[position]]
    heapq.heapify(ready)
    ordered = []
    while ready:
        _, done = heapq.heappop(ready)
        ordered.append(nodes[done])
        for position, needed in enumerate(waits_for):
            if done in needed:
                needed.remove(done)
                if not needed:
                    heapq.heappush(ready, (nodes[position].name, position))
    return ordered


def _sort(field: Any, key: Any) -> None:
    """Sort a repeated field of a protocol buffer in place."""
    items = sorted(field, key=key)
    del field[:]
    field.extend(items)


def canonical(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same model with every order fixed that skl2onnx leaves to the hash seed."""
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    _sort(model.opset_import, lambda opset: opset.domain)
    _sort(model.metadata_props, lambda entry: entry.key)
    _sort(model.graph.initializer, lambda tensor: tensor.name)
    _sort(model.graph.value_info, lambda value: value.name)
    nodes = _in_stable_order(list(model.graph.node))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for node in model.graph.node:
        _sort(node.attribute, lambda attribute: attribute.name)
    return model


def _as_vectors(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Give the graph plain vectors: n values per input, n probabilities of the positive label out.

    MLflow feeds the columns of a data frame as vectors and expects one answer a row.
    """
    graph = proto.graph
    columns = {entry.name: f"{entry.name}_column" for entry in graph.input}
    for node in graph.node:
        node.input[:] = [columns.get(name, name) for name in node.input]
    helper = onnx.helper
    reshaped = [
        helper.make_node("Reshape", [name, "as_column"], [column], name=column) for name, column in columns.items()
    ]
    picked = helper.make_node("Gather", [PROBABILITIES, "positive"], [OUTPUT], name=OUTPUT, axis=1)
    inputs = [
        helper.make_tensor_value_info(entry.name, entry.type.tensor_type.elem_type, [None]) for entry in graph.input
    ]
    constants = [
        helper.make_tensor("as_column", onnx.TensorProto.INT64, [2], [-1, 1]),
        helper.make_tensor("positive", onnx.TensorProto.INT64, [], [1]),
    ]
    output = helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, [None])
    vectors = helper.make_graph(
        [*reshaped, *graph.node, picked], graph.name, inputs, [output], [*graph.initializer, *constants]
    )
    return helper.make_model(vectors, opset_imports=proto.opset_import, ir_version=proto.ir_version)


def convert(pipeline: Pipeline, roles: TableRoles) -> onnx.ModelProto:
    """Convert a fitted pipeline: one input per feature, one output.

    Args:
        pipeline: fitted on columns in the order ``roles.numeric``, ``roles.categorical``.
        roles: names the inputs.
    """
    inputs = [(name, FloatTensorType([None, 1])) for name in roles.numeric]
    inputs += [(name, StringTensorType([None, 1])) for name in roles.categorical]
    proto = convert_sklearn(
        pipeline,
        GRAPH,
        inputs,
        target_opset=OPSET,
        options={"zipmap": False},
        custom_conversion_functions={HistGradientBoostingClassifier: _convert_boosting},
        custom_shape_calculators={HistGradientBoostingClassifier: get_shape_calculator(BOOSTING)},
    )
    return canonical(_as_vectors(proto))


def seal(proto: onnx.ModelProto, roles: TableRoles, threshold: float) -> OnnxModel:
    """Write roles and threshold into the file, so that the digest covers them."""
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    onnx.helper.set_model_props(model, {ROLES: roles.model_dump_json(), THRESHOLD: json.dumps(threshold)})
    return OnnxModel(canonical(model).SerializeToString(deterministic=True))


def compare(
    pipeline: Pipeline, probabilities: npt.NDArray[np.float32], features: pd.DataFrame, tolerance: float
) -> dict[str, Any]:
    """Compare the fitted pipeline with what its export answered on the same rows.

    Returns:
        rows compared, the largest absolute difference, and how many differ by more than 1e-5.

    Raises:
        ExportError: the largest difference is above the tolerance.
    """
    expected = estimators.probabilities(pipeline, features)
    difference = np.abs(expected - probabilities)
    report = {
        "rows": len(difference),
        "largest_difference": float(f"{difference.max():.3g}"),
        "above_1e-5": int((difference > NOTEWORTHY).sum()),
        "tolerance": tolerance,
    }
    if not difference.max() <= tolerance:  # NaN, too, is refused
        raise ExportError(
            f"The ONNX model differs from the fitted one by up to {difference.max():.3g} "
            f"({report['above_1e-5']} of {len(difference)} rows by more than {NOTEWORTHY:g}); "
            f"export.tolerance allows {tolerance:g}. Nothing was registered."
        )
    return report
