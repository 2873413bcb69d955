"""The lifecycle as a plain script: the same rows, features, estimator and results, no Kedro, DVC or MLflow.

``python -m benchmarks.plain RAW_FOLDER OUT_FOLDER``, in the root of the project.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ml_lifecycle import parameters
from ml_lifecycle.pipelines.data_engineering import flights as flight_nodes
from ml_lifecycle.pipelines.data_engineering import nodes as table_nodes
from ml_lifecycle.pipelines.training import evaluation, nodes, reporting


def _parameters(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(Path(f"conf/base/{name}.yml").read_text(encoding="utf-8"))
    return loaded


def main(raw: Path, out: Path) -> None:
    """Read the raw tables, train, judge, draw, score, and write what a person would keep."""
    data, training = _parameters("parameters_data_engineering"), _parameters("parameters_training")
    seed = _parameters("globals")["seed"]
    flight_options = parameters.FlightOptions(**data["flights"])
    feature_options = parameters.FeatureOptions(**data["features"])
    evaluation_options = parameters.EvaluationOptions(**training["evaluation"])
    export_options = parameters.ExportOptions(**training["export"])
    model_options = parameters.ModelOptions(**training["model"])

    names = ("flights.csv.zip", "weather.csv", "planes.csv", "airports.csv", "airlines.csv")
    flights, weather, planes, airports, airlines = (pd.read_csv(raw / name) for name in names)
    screened = flight_nodes.screen_raw_tables(flights, weather, planes)
    scheduled = flight_nodes.schedule_flights(screened["flights"], airports, airlines, flight_options)
    requests = flight_nodes.look_up_state(
        scheduled, screened["weather"], screened["planes"], flight_options, feature_options
    )
    labels = flight_nodes.label_flights(scheduled, flight_options)["labels"]
    roles = flight_nodes.describe_roles(feature_options)
    features = table_nodes.compute_features(requests, roles)
    table = table_nodes.assemble_model_input(features, labels, roles, parameters.SplitOptions(**data["split"]), seed)

    search = parameters.SearchOptions(**training["search"])
    chosen = nodes.search_options(table, roles, model_options, search, evaluation_options, seed)
    fitted = nodes.fit_model(table, roles, model_options, chosen, seed)
    model = nodes.seal_model(nodes.convert_model(fitted, roles), table, roles)
    report = nodes.check_export(fitted, model, table, export_options)
    scores = nodes.score_slices(model, table)
    baseline = parameters.HistGradientBoostingOptions(**training["baseline"])
    baselines = nodes.score_baselines(table, roles, baseline, seed)
    judged = evaluation.evaluate(scores, baselines, model, report, evaluation_options, seed)
    slices = evaluation.evaluate_slices(scores, table, evaluation_options, seed)
    importance = reporting.measure_importance(model, table, evaluation_options, seed)

    out.mkdir(parents=True, exist_ok=True)
    pictures = reporting.draw_quality(scores, baselines, judged)
    pictures["importance"] = reporting.draw_importance(importance)
    pictures["rates"] = reporting.draw_rates(table, scores, model, evaluation_options)
    for name, picture in pictures.items():
        picture.savefig(out / f"{name}.png")
    (out / "model.onnx").write_bytes(model.content)
    (out / "evaluation.json").write_text(json.dumps(judged, indent=2), encoding="utf-8")
    slices.to_csv(out / "slice_metrics.csv", index=False)
    table.to_parquet(out / "model_input.parquet")
    asked = flight_nodes.select_requests(requests, table)
    answers = model.predict(nodes.feature_columns(table_nodes.compute_features(asked, roles), model.roles))
    pd.DataFrame({"request_key": asked["flight_key"], "probability": answers}).to_parquet(out / "predictions.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
