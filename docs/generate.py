"""Writes the reference pages that follow from the code: ``python docs/generate.py``.

``--check`` writes nothing, names the pages that are out of date and exits 1 if there are any.
"""

import argparse
import inspect
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandera.pandas as pa
from fastapi import FastAPI
from kedro.config import OmegaConfigLoader
from omegaconf import OmegaConf
from pydantic import TypeAdapter

from ml_lifecycle import features, parameters, schemas
from ml_lifecycle.api import create_app
from ml_lifecycle.api.measurements import Measurements
from ml_lifecycle.api.settings import Settings
from ml_lifecycle.moments import Moment, known_by
from ml_lifecycle.provenance.statement import Statement
from ml_lifecycle.request_columns import FLIGHT_REQUEST
from ml_lifecycle.settings import CONFIG_LOADER_ARGS

PROJECT = Path(__file__).parents[1]
REFERENCE = PROJECT / "docs" / "reference"
GENERATED = "<!-- Written by `python docs/generate.py`; change the code or that script instead. -->\n"

GROUPS: dict[str, type[parameters.Parameters]] = {
    "flights": parameters.FlightOptions,
    "features": parameters.FeatureOptions,
    "split": parameters.SplitOptions,
    "table": parameters.TableOptions,
    "model": parameters.ModelOptions,
    "search": parameters.SearchOptions,
    "baseline": parameters.HistGradientBoostingOptions,
    "evaluation": parameters.EvaluationOptions,
    "export": parameters.ExportOptions,
    "gate": parameters.GateOptions,
}

#: Meaning and unit of each parameter; a missing or a superfluous entry is an error.
MEANINGS = {
    "seed": "Start of every random draw; set in `globals.yml`",
    "flights.delay_threshold_minutes": "A flight is late from this arrival delay on, in minutes",
    "flights.lead_time_minutes": "The prediction is made this many minutes before scheduled departure",
    "flights.weather_known_after_minutes": "An hourly observation is known this many minutes after its hour begins",
    "flights.airport_time_zones": "IANA time zone of each destination that the airports table lacks",
    "features.prediction_moment": "The latest moment whose columns may be features",
    "features.columns": "The features to use: all known by then, or a list of names",
    "split.choose_from": "First day of the choose slice; earlier rows are learned from",
    "split.judge_from": "First day of the judge slice",
    "split.choose_share": "Share of rows in the choose slice where there are no dates",
    "split.judge_share": "Share of rows in the judge slice where there are no dates",
    "table.target": "The column to predict",
    "table.task": "Kind of target; multi-class and regression are refused by name",
    "table.positive_label": "The label whose probability is predicted; null takes the rarer one",
    "table.key": "Column that identifies a row; null numbers the rows",
    "table.time": "Column of times that orders the split; null splits at random within each label",
    "table.numeric": "Columns declared numeric",
    "table.categorical": "Columns declared categorical",
    "table.ignore": "Columns left out",
    "table.max_categories": "A text column with more distinct values needs a declared role",
    "model.estimator": "What is fitted",
    "model.random_forest.n_estimators": "Trees",
    "model.random_forest.min_samples_leaf": "Rows in a leaf, at least",
    "model.random_forest.max_features": "Features tried at a split, or their share",
    "model.random_forest.max_depth": "Levels of a tree, at most; null sets no limit",
    "model.random_forest.n_jobs": "Threads, -1 for all; the model does not depend on it",
    "model.hist_gradient_boosting.max_iter": "Boosting rounds",
    "model.hist_gradient_boosting.learning_rate": "Weight of each round",
    "model.hist_gradient_boosting.min_samples_leaf": "Rows in a leaf, at least",
    "model.hist_gradient_boosting.max_leaf_nodes": "Leaves of a tree, at most",
    "model.hist_gradient_boosting.l2_regularization": "Strength of the L2 penalty",
    "model.logistic_regression.C": "Inverse strength of the penalty",
    "model.logistic_regression.max_iter": "Iterations of the solver, at most",
    "search.n_trials": "Candidates tried on the choose slice; 0 takes the options as they are",
    "search.metric": "What the search improves",
    "baseline.max_iter": "Boosting rounds of the baseline",
    "baseline.learning_rate": "Weight of each round",
    "baseline.min_samples_leaf": "Rows in a leaf, at least",
    "baseline.max_leaf_nodes": "Leaves of a tree, at most",
    "baseline.l2_regularization": "Strength of the L2 penalty",
    "evaluation.bootstrap_samples": "Draws behind each interval",
    "evaluation.confidence": "Probability that an interval is made for",
    "evaluation.calibration_bins": "Points of the calibration curve",
    "evaluation.slices": "Columns whose parts are judged one by one; `month` comes from the time of the rows",
    "evaluation.rates_by": "Columns over which rates are drawn",
    "evaluation.importance_rows": "Rows used for permutation importance, at most",
    "evaluation.importance_repeats": "Shuffles of each column",
    "export.tolerance": "Largest difference in probability allowed between scikit-learn and ONNX",
    "export.probe_rows": "Rows whose answers are the model's fingerprint, at most",
    "gate.clean_tree": "Aliases that a version gets only if it was made from a commit without changes",
    "gate.floors": "The least a metric may be on the judge slice",
    "gate.ceilings": "The most a metric may be on the judge slice; of the calibration gap its absolute value",
    "gate.baseline_metrics": "Metrics in which the interval of the gain over every baseline lies above zero",
    "gate.question": "Parameters that say what is predicted and when: versions are compared only if they share them",
    "gate.metric": "Metric of the comparison with the version in place, on all rows and on parts",
    "gate.comparison": "The low end of the interval of the gain over the version in place must lie above "
    "`minimum_gain` (superiority), or above its negative: no worse than by that much (non-inferiority)",
    "gate.minimum_gain": "The margin of the comparison, in units of the metric; above 0 for non-inferiority",
    "gate.confidence": "Probability that the interval of the gain is made for; half of the rest is the share of "
    "wrong promotions",
    "gate.bootstrap_samples": "Draws behind the interval of the gain",
    "gate.slices": "Columns whose parts are compared one by one; `month` comes from the time of the rows",
    "gate.slice_min_rows": "Rows of a part that is compared, at least",
    "gate.slice_max_loss": "By how much a part may be worse than with the version in place, in units of the metric",
    "gate.max_latency_ms": "Median time of a single prediction, in milliseconds, at most",
}

ENVIRONMENTS = {
    "base": "The defaults: real data, files and SQLite. The only place where every key is written.",
    "test": "A sample of the flights and small models, in stores of their own below `build/test`.",
    "minio": "The same lifecycle on an object store and a tracking server, named in `.env.example`.",
    "tabular": "A table of your own: with `--pipelines tabular`.",
    "local": "Yours, ignored by Git. What `kedro run` adds to base when no environment is named.",
}


def _configuration(environment: str) -> dict[str, Any]:
    """The effective parameters, read the way Kedro reads them."""
    loader = OmegaConfigLoader(str(PROJECT / "conf"), env=environment, **_loader_arguments())
    return dict(loader["parameters"])


def _loader_arguments() -> dict[str, Any]:
    return {name: value for name, value in CONFIG_LOADER_ARGS.items() if name != "default_run_env"}


def _leaves(group: type[parameters.Parameters], values: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield path, JSON schema and default of each parameter of a group."""
    schema = group.model_json_schema()
    for name, field in group.model_fields.items():
        of_field = schema["properties"][name]
        if isinstance(field.annotation, type) and issubclass(field.annotation, parameters.Parameters):
            yield from _leaves(field.annotation, values[name], f"{path}.{name}")
        else:
            yield f"{path}.{name}", _resolved(of_field, schema), values.get(name, field.default)


def _resolved(part: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = part.get("$ref")
    return schema["$defs"][reference.rpartition("/")[2]] if reference else part


def _allowed(schema: dict[str, Any]) -> str:
    """Say in words what a JSON schema allows."""
    if "anyOf" in schema:
        return " or ".join(_allowed(part) for part in schema["anyOf"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    bounds = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    if choices := schema.get("items", schema.get("propertyNames", {})).get("enum"):
        kind = "list of" if schema["type"] == "array" else "numbers for"
        return f"{kind} {', '.join(f'`{value}`' for value in choices)}"
    limits = " and ".join(f"{sign} {schema[name]:g}" for name, sign in bounds.items() if name in schema)
    names = {"integer": "whole number", "array": "list of names", "object": "names with texts", "string": "text"}
    kind = "date" if schema.get("format") == "date" else names.get(schema["type"], schema["type"])
    return f"{kind} {limits}".strip()


def _shown(value: Any) -> str:
    return f"`{json.dumps(value)}`" if not isinstance(value, str) else f"`{value}`"


def _parameters() -> Iterator[tuple[str, str, str]]:
    """Yield path, default and allowed values of each parameter, with those that only ``tabular`` has."""
    values = _configuration("base")
    values["table"] = _configuration("tabular")["table"]
    if unknown := set(values) - set(GROUPS) - {"seed"}:
        raise SystemExit(f"docs/generate.py does not know the parameter groups {sorted(unknown)}.")
    yield "seed", _shown(values["seed"]), "whole number"
    for name, group in GROUPS.items():
        for path, schema, default in _leaves(group, values[name], name):
            allowed = "`binary`" if path == "table.task" else _allowed(schema)
            yield path, _shown(default), allowed


def _differences(environment: str) -> Iterator[str]:
    """Yield the keys an environment sets, each with its value."""
    for file in sorted((PROJECT / "conf" / environment).glob("*.yml")):
        if file.name.startswith(("globals", "parameters", "mlflow")):
            yield from (f"`{path}` {_shown(value)}" for path, value in _flat(OmegaConf.load(file)))


def _flat(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    plain = OmegaConf.to_container(values, resolve=False) if OmegaConf.is_config(values) else values
    for name, value in plain.items():
        here = f"{path}.{name}" if path else str(name)
        if isinstance(value, dict) and value:
            yield from _flat(value, here)
        else:
            yield here, value


def configuration_page() -> str:
    """Every parameter with meaning, default and allowed values; what each environment changes."""
    rows = list(_parameters())
    paths = {path for path, _, _ in rows}
    if paths != set(MEANINGS):
        raise SystemExit(f"MEANINGS in docs/generate.py and the parameters differ: {sorted(paths ^ set(MEANINGS))}.")
    table = "\n".join(f"| `{path}` | {MEANINGS[path]} | {default} | {allowed} |" for path, default, allowed in rows)
    stores = "\n".join(f"| `{path}` | {_shown(value)} |" for path, value in _flat(OmegaConf.load(_globals())))
    environments = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in ENVIRONMENTS.items())
    changes = "\n".join(
        f"\n**`{name}`** sets {'; '.join(_differences(name))}."
        for name in ENVIRONMENTS
        if any(_differences(name))
        if name not in ("base", "local")
    )
    return (
        f"{GENERATED}\n# Configuration\n\n"
        "Change a value for one run with `--params path=value`, for good in the file that holds it; "
        "an unknown or misspelt key is an error that lists the allowed ones.\n\n"
        "## Environments\n\n`--env NAME` or the variable `KEDRO_ENV` chooses one; it says only what differs from "
        f"base.\n\n| environment | what it is for |\n|---|---|\n{environments}\n{changes}\n\n"
        "## Parameters\n\nThe `table` group is used by `--pipelines tabular` only; its defaults are those of the "
        f"`tabular` environment.\n\n| parameter | meaning | default | allowed |\n|---|---|---|---|\n{table}\n\n"
        f"## Paths and names (`globals.yml`)\n\n| key | value in base |\n|---|---|\n{stores}\n"
    )


def _globals() -> Path:
    return PROJECT / "conf" / "base" / "globals.yml"


def _comments(table: type[pa.DataFrameModel]) -> dict[str, str]:
    """The comment at the end of each column's line in the source: its unit or meaning."""
    found = re.findall(r"^    (\w+): .*\)  # (.+)$", inspect.getsource(table), re.MULTILINE)
    return dict(found)


def _type(column: Any) -> str:
    name = "text" if str(column.dtype).startswith("str") else str(column.dtype)
    return f"{name}, may be missing" if column.nullable else name


def _first_line(thing: Any) -> str:
    return inspect.getdoc(thing).partition("\n\n")[0].replace("\n", " ").replace("``", "`")


def _by_moment(table: type[schemas.Table]) -> str:
    known = table.known_at()
    lines = []
    for moment in Moment:
        columns = [f"`{name}`" for name in known if known[name] is moment]
        if columns:
            lines.append(f"| `{moment}` | {', '.join(columns)} |")
    return "| known at | columns |\n|---|---|\n" + "\n".join(lines)


def _columns(table: type[schemas.Table], meanings: Mapping[str, str]) -> str:
    known = table.known_at()
    lines = [
        f"| `{name}` | {_type(column)} | `{known[name]}` | {meanings.get(name, '')} |"
        for name, column in table.to_schema().columns.items()
    ]
    return "| column | type | known at | meaning |\n|---|---|---|---|\n" + "\n".join(lines)


def _features() -> str:
    lines = [
        f"| `{feature.name}` | {feature.kind} | `{feature.known_at}` | "
        f"{', '.join(f'`{column}`' for column in feature.inputs)} |"
        for feature in features.FLIGHT_FEATURES
        if feature.inputs != (feature.name,)
    ]
    return "| feature | kind | known at | computed from |\n|---|---|---|---|\n" + "\n".join(lines)


def _row_rules(rules: type[pa.DataFrameModel]) -> Iterator[str]:
    schema = rules.to_schema()
    for name, column in schema.columns.items():
        yield from (f"{name}: {check.error}" for check in column.checks)
    yield from (check.name for check in schema.checks)


def data_page() -> str:
    """Every table of the example, with the moment when each column is known."""
    raw = (schemas.Flights, schemas.Weather, schemas.Planes, schemas.Airports, schemas.Airlines)
    rules = {"flights": schemas.FlightRows, "weather": schemas.WeatherRows, "planes": schemas.PlaneRows}
    usable = known_by(features.known_at(), Moment.BEFORE_DEPARTURE)
    raw_tables = "\n\n".join(
        f"### `{table.__name__.lower()}`\n\n{_first_line(table)}\n\n{_by_moment(table)}" for table in raw
    )
    reasons = "\n".join(f"| `{name}` | {reason} |" for name, table in rules.items() for reason in _row_rules(table))
    scheduled, asked = schemas.ScheduledFlights, schemas.FlightRequests
    made = (schemas.ModelInput, schemas.EvaluationScores, schemas.Predictions, schemas.Quarantine)
    others = "\n\n".join(
        f"### {table.__name__}\n\n{_first_line(table)}\n\n"
        + ", ".join(f"`{name}` ({_type(column)})" for name, column in table.to_schema().columns.items())
        for table in made
    )
    return (
        f"{GENERATED}\n# Data\n\n"
        f"Moments in order: {', '.join(f'`{moment}`' for moment in Moment)}. "
        "What they mean: [the known-at contract](../explanation/known-at.md).\n\n"
        f"## Raw tables\n\n{raw_tables}\n\n"
        f"## Rules a single row may break\n\nSuch a row goes to quarantine with this reason.\n\n"
        f"| table | reason |\n|---|---|\n{reasons}\n\n"
        f"## Tables of the example\n\n### `scheduled_flights`\n\n{_first_line(scheduled)}\n\n"
        f"{_columns(scheduled, _comments(scheduled))}\n\n### `flight_requests`\n\n{_first_line(asked)} "
        "Delays and ages are minutes; state is as of the prediction time.\n\n"
        f"{_columns(asked, {column.name: column.about for column in FLIGHT_REQUEST})}\n\n"
        f"## Features\n\n{len(features.FLIGHT_FEATURES)} are defined; {len(usable)} of them are known "
        f"`{Moment.BEFORE_DEPARTURE}`. All but these are columns of `flight_requests` as they are:\n\n{_features()}\n\n"
        f"## Tables of any data set\n\n{others}\n"
    )


def provenance_schema() -> str:
    """The JSON schema of a version's ``provenance.json``."""
    return json.dumps(Statement.model_json_schema(), indent=2) + "\n"


def _settings() -> Iterator[str]:
    """Yield a row for each setting of the service."""
    properties = Settings.model_json_schema()["properties"]
    for name, field in Settings.model_fields.items():
        variable = f"API_{name.upper()}"
        schema = properties.get(name) or properties[variable]
        allowed = _allowed(schema) if {"anyOf", "enum", "type"} & set(schema) else schema.get("format", "")
        default = (
            ""
            if field.is_required() or name == "key_hashes"
            else _shown(TypeAdapter(Any).dump_python(field.default, mode="json"))
        )
        yield f"| `{variable}` | {field.description} | {default} | {allowed} |"


def _operations(app: FastAPI) -> Iterator[str]:
    """Yield a row for each path and method of the service."""
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            key = "" if operation.get("security") == [] else "needed"
            yield f"| `{method.upper()} {path}` | {operation['summary']} | {', '.join(operation['tags'])} | {key} |"


def _measurements() -> Iterator[str]:
    """Yield a row for each measurement of the service."""
    for metric in Measurements().registry.collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        yield f"| `{name}` | {metric.type} | {metric.documentation} |"


def service_page() -> str:
    """Every setting, path and measurement of the service."""
    with tempfile.TemporaryDirectory() as folder:
        given = {"model": "m", "alias": "a", "tracking_uri": "", "prediction_log": "", "authentication": "off"}
        app = create_app(Settings(**given, cache=Path(folder)))
    head = "| path | what it answers | protocol | key |\n|---|---|---|---|\n"
    settings = "| variable | meaning | default | allowed |\n|---|---|---|---|\n"
    return (
        f"{GENERATED}\n# The service\n\n`make serve`, or `python -m ml_lifecycle.api`. How to run and to ask it: "
        "[Serve predictions](../how-to/serve-predictions.md).\n\n"
        "## Settings\n\nEnvironment variables. Model, alias, tracking server and prediction log have defaults in the "
        "project: what `conf/base`, and the environment that `KEDRO_ENV` names, say.\n\n"
        f"{settings}{chr(10).join(_settings())}\n\n"
        "## Paths\n\n`GET /openapi.json` describes them in full, with the columns of the model that answers; `/docs` "
        f"shows that in a browser, and `/` is a page about the model.\n\n{head}{chr(10).join(_operations(app))}\n\n"
        "## Measurements\n\nAt `/metrics`, for Prometheus.\n\n| name | kind | meaning |\n|---|---|---|\n"
        f"{chr(10).join(_measurements())}\n"
    )


PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": configuration_page,
    "data.md": data_page,
    "provenance.schema.json": provenance_schema,
    "service.md": service_page,
}


def out_of_date(folder: Path, pages: Mapping[str, str]) -> list[str]:
    """Name the pages in the folder that are not what the code says."""
    files = {name: folder / name for name in pages}
    return [
        name for name, file in files.items() if not file.exists() or file.read_text(encoding="utf-8") != pages[name]
    ]


def main() -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=REFERENCE, help="default: docs/reference")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is out of date")
    options = parser.parse_args()
    pages = {name: page() for name, page in PAGES.items()}
    stale = out_of_date(options.folder, pages)
    if options.check:
        for name in stale:
            sys.stderr.write(f"{options.folder / name} is out of date. Run `python docs/generate.py`.\n")
        raise SystemExit(int(bool(stale)))
    for name in stale:
        (options.folder / name).write_text(pages[name], encoding="utf-8")
        sys.stdout.write(f"wrote {options.folder / name}\n")


if __name__ == "__main__":
    main()
