"""Files that may be signed and registered like any model, and that cannot serve."""

import dataclasses
from collections.abc import Callable

import onnx
from onnx import TensorProto, helper

from candidates import ROLES, candidate, small_model
from ml_lifecycle import export
from ml_lifecycle.model_version import Candidate
from ml_lifecycle.onnx_model import OUTPUT, OnnxModel


def _garbage() -> OnnxModel:
    return OnnxModel(b"no model at all")


def _not_ours() -> OnnxModel:
    """Without roles and threshold."""
    proto = onnx.ModelProto()
    proto.CopyFrom(small_model().proto)
    del proto.metadata_props[:]
    return OnnxModel(proto.SerializeToString())


def _unanswering() -> OnnxModel:
    """It loads, and wants another column than its roles say."""
    other = helper.make_tensor_value_info("other", TensorProto.FLOAT, [None])
    answer = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None])
    graph = helper.make_graph([helper.make_node("Identity", ["other"], [OUTPUT])], "small", [other], [answer])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return export.seal(proto, ROLES, 0.5)


#: How each is made, and what is told of it.
UNSERVABLE: dict[str, tuple[Callable[[], OnnxModel], str]] = {
    "garbage": (_garbage, "cannot be loaded"),
    "not ours": (_not_ours, "cannot be loaded"),
    "unanswering": (_unanswering, "does not answer its own example"),
}


def unservable(kind: str) -> Candidate:
    """Put one in the place of a good model, with all that is told of that."""
    made, _ = UNSERVABLE[kind]
    return dataclasses.replace(candidate(), model=made())
