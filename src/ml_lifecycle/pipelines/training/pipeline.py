"""Wiring of training."""

from kedro.pipeline import Node, Pipeline

from . import evaluation, nodes, packaging, reporting

TABLE, ROLES, SEED = "model_input", "table_roles", "params:seed"
EVALUATION = "params:evaluation"


def create_pipeline() -> Pipeline:
    """A table to learn from becomes an evaluated, described and registered model."""
    return Pipeline(
        [
            Node(
                nodes.search_options,
                [TABLE, ROLES, "params:model", "params:search", EVALUATION, SEED],
                "chosen_options",
                name="search_options",
            ),
            Node(
                nodes.fit_model,
                [TABLE, ROLES, "params:model", "chosen_options", SEED],
                "fitted_model",
                name="fit_model",
            ),
            Node(nodes.convert_model, ["fitted_model", ROLES], "converted_model", name="convert_model"),
            Node(nodes.seal_model, ["converted_model", TABLE, ROLES], "onnx_model", name="seal_model"),
            Node(
                packaging.record_training,
                ["onnx_model", TABLE, "data_record", "run_record"],
                "training_record",
                name="record_training",
            ),
            Node(
                nodes.check_export,
                ["fitted_model", "onnx_model", TABLE, "params:export"],
                "export_report",
                name="check_export",
            ),
            Node(nodes.score_slices, ["onnx_model", TABLE], "evaluation_scores", name="score_slices"),
            Node(
                nodes.score_baselines,
                [TABLE, ROLES, "params:baseline", SEED],
                "baseline_scores",
                name="score_baselines",
            ),
            Node(
                evaluation.evaluate,
                ["evaluation_scores", "baseline_scores", "onnx_model", "export_report", EVALUATION, SEED],
                "evaluation",
                name="evaluate",
            ),
            Node(
                evaluation.evaluate_slices,
                ["evaluation_scores", TABLE, EVALUATION, SEED],
                "slice_metrics",
                name="evaluate_slices",
            ),
            Node(evaluation.track_metrics, "evaluation", "tracked_metrics", name="track_metrics"),
            Node(
                reporting.measure_importance,
                ["onnx_model", TABLE, EVALUATION, SEED],
                "feature_importance",
                name="measure_importance",
            ),
            Node(
                reporting.draw_quality,
                ["evaluation_scores", "baseline_scores", "evaluation"],
                {"roc": "roc_curve", "precision_recall": "precision_recall_curve", "calibration": "calibration_curve"},
                name="draw_quality",
            ),
            Node(reporting.draw_importance, "feature_importance", "importance_chart", name="draw_importance"),
            Node(
                reporting.draw_rates,
                [TABLE, "evaluation_scores", "onnx_model", EVALUATION],
                "rates_chart",
                name="draw_rates",
            ),
            Node(
                reporting.write_model_card,
                ["onnx_model", "evaluation", "slice_metrics", "feature_importance", "chosen_options", "data_report"],
                {"markdown": "model_card", "html": "model_card_page"},
                name="write_model_card",
            ),
            Node(nodes.draw_probe, ["onnx_model", TABLE, "params:export"], "probe_set", name="draw_probe"),
            Node(
                packaging.package_model,
                ["onnx_model", "probe_set", "evaluation", "data_report", "model_card", "training_record"],
                "registered_model",
                name="package_model",
            ),
        ]
    )
