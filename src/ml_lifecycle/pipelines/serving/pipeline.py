"""Wiring of batch scoring."""

from kedro.pipeline import Node, Pipeline

from . import nodes


def create_pipeline() -> Pipeline:
    """Requests become predictions by the model behind an alias."""
    return Pipeline(
        [
            Node(nodes.score, ["requests", "registered_model", "run_record"], "predictions", name="score"),
            Node(nodes.log_predictions, "predictions", "prediction_log", name="log_predictions"),
        ]
    )
