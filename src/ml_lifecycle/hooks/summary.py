"""The last thing a run prints: what it made, how good it is, and what to do next."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import mlflow
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from ml_lifecycle.datasets.registered_model import RegisteredModelDataset
from ml_lifecycle.faults import without_password
from ml_lifecycle.hooks.origin import file_of
from ml_lifecycle.metrics import METRICS, interval
from ml_lifecycle.registry import versions

PICTURES = ("roc_curve", "precision_recall_curve", "calibration_curve", "importance_chart", "rates_chart")
MODEL = "registered_model"


def _rows(report: dict[str, Any]) -> Iterator[str]:
    yield "Rows"
    for table, rows in report["rows"].items():
        quarantined = rows["in"] - rows["kept"]
        yield f"  {table:<12} {rows['in']:>9,} in = {rows['kept']:>9,} kept + {quarantined:>6,} quarantined"
        for reason, count in rows["quarantined"].items():
            yield f"  {'':<12} {count:>9,} {reason}"
    slices = ", ".join(f"{name} {part['rows']:,}" for name, part in report["slices"].items())
    yield f"  slices       {slices}"


def _quality(evaluation: dict[str, Any]) -> Iterator[str]:
    compared = {"model": evaluation["model"], **evaluation["baselines"]}
    yield f"Quality on the judge slice ({evaluation['rows']:,} rows, {evaluation['confidence']:.0%} intervals)"
    yield f"  {'':<18}" + "".join(f"{name:<24}" for name in compared)
    for metric in METRICS:
        yield f"  {metric:<18}" + "".join(f"{interval(figures[metric]):<24}" for figures in compared.values())
    export = evaluation["export"]
    yield f"  ONNX against scikit-learn: largest difference {export['largest_difference']} on {export['rows']:,} rows"


def _registered(catalog: DataCatalog, run_id: str) -> Iterator[str]:
    dataset = catalog[MODEL]
    if not isinstance(dataset, RegisteredModelDataset):
        return
    for version in versions.registered_by(dataset.name, run_id):
        yield f"Registered '{dataset.name}' version {version.number}, SHA-256 {version.digest}"
        yield f"  {version.decision}"
    named = ", ".join(
        f"@{alias} = version {number}" for alias, number in sorted(versions.aliases(dataset.name).items())
    )
    yield f"  aliases: {named or 'none'}"


def _place(catalog: DataCatalog, name: str) -> str:
    """Where a dataset lies: a path as short as possible, or an address."""
    path = file_of(catalog, name)
    protocol = getattr(catalog[name], "_protocol", "file")
    if protocol != "file":
        return f"{protocol}://{path}"
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _next() -> str:
    tracking = mlflow.get_tracking_uri()
    runs = without_password(tracking) if tracking.startswith("http") else "`make ui`"
    return f"Next         `kedro viz run` (pipelines), {runs} (runs and models), `dvc repro` (what is out of date)"


class SummaryHook:
    """Prints what the run made; each part only if the run made it."""

    @hook_impl(tryfirst=True)  # before kedro-mlflow closes the run that the summary names
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Print the summary of a run that succeeded."""
        made = pipeline.all_outputs()
        lines: list[str] = []
        if "data_report" in made:
            lines += _rows(catalog.load("data_report"))
        if "evaluation" in made:
            lines += _quality(catalog.load("evaluation"))
        run = mlflow.active_run()
        if MODEL in made and run is not None:
            lines += _registered(catalog, run.info.run_id)
        if "model_card" in made:
            pictures = " ".join(_place(catalog, name) for name in PICTURES)
            lines += [f"Pictures     {pictures}", f"Model card   {_place(catalog, 'model_card_page')}"]
        if "predictions" in made:
            predictions = catalog.load("predictions")
            answered = predictions.iloc[0]
            lines.append(
                f"Predictions  {_place(catalog, 'predictions')}: {len(predictions):,} rows by "
                f"'{answered['model_name']}' version {answered['model_version']}, SHA-256 {answered['model_digest']}"
            )
        lines.append(_next())
        click.echo("\n" + "\n".join(lines))
