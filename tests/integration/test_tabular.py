"""A table that has nothing to do with flights, through all three pipelines, with configuration alone."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from project_copy import ProjectCopy

TABLE = "data/01_raw/train.csv"
RUN = ("kedro", "run", "--env", "tabular", "--pipelines", "tabular")
QUICK = "model.random_forest.n_estimators=10,evaluation.bootstrap_samples=50"


def bank_customers(rows: int = 1500) -> pd.DataFrame:
    """Customers of a bank, some with gaps, a few without a label."""
    random = np.random.default_rng(7)
    table = pd.DataFrame(
        {
            "income": random.normal(50, 20, rows).round(1),
            "age": random.integers(18, 90, rows),
            "city": random.choice(["Ulm", "Köln", "Oslo"], rows),
            "member": random.choice([True, False], rows),
            "children": random.choice([0.0, 1.0, 2.0, np.nan], rows),
            "joined": pd.date_range("2020-01-01", periods=rows, freq="D").strftime("%Y-%m-%d"),
        }
    )
    score = (table["income"] - 50) / 15 + (table["city"] == "Oslo") - (table["age"] - 50) / 20
    table["target"] = np.where(random.random(rows) < 1 / (1 + np.exp(-score)), "stays", "leaves")
    return table.assign(
        income=table["income"].mask(random.random(rows) < 0.05), target=table["target"].mask(table.index < 10)
    )


def configure(project: ProjectCopy, **changes: object) -> None:
    """Declare roles of columns in the configuration."""
    path = project.path / "conf/tabular/parameters.yml"
    loaded = yaml.safe_load(path.read_text())
    loaded["table"].update(changes)
    path.write_text(yaml.safe_dump(loaded))


@pytest.fixture
def bank(project: ProjectCopy) -> ProjectCopy:
    """A clone whose own table is locked by DVC."""
    bank_customers().to_csv(project.path / TABLE, index=False)
    project.run("dvc", "add", "--quiet", TABLE)
    return project


def report(project: ProjectCopy, name: str) -> dict[str, dict[str, object]]:
    """Read a report of the run."""
    return json.loads((project.path / "data/tabular/08_reporting" / f"{name}.json").read_text())


@pytest.mark.integration
def test_a_foreign_table_is_learned_from_registered_and_scored(bank: ProjectCopy) -> None:
    """A CSV with a target column becomes a registered model and predictions; nothing about flights is needed."""
    configure(bank, ignore=["joined"])
    result = bank.run(*RUN, "--params", QUICK)
    rows = report(bank, "data_report")["rows"]["table"]
    assert {"in": 1500, "kept": 1490, "quarantined": {"no label: the target is missing": 10}} == rows
    assert "Registered 'tabular_model' version 1" in result.stdout
    assert "@production = version 1" in result.stdout
    predictions = pd.read_parquet(bank.path / "data/tabular/07_model_output/predictions.parquet")
    assert {"stays", "leaves"} == set(predictions["decision"])
    assert {"tabular_model"} == set(predictions["model_name"])


@pytest.mark.integration
def test_a_time_column_splits_the_table_in_its_order(bank: ProjectCopy) -> None:
    """With a time column declared, the latest rows are judged."""
    configure(bank, time="joined")
    bank.run(*RUN, "--params", QUICK)
    table = pd.read_parquet(bank.path / "data/tabular/05_model_input/model_input.parquet")
    first, last = table.groupby("row_split")["row_time"].min(), table.groupby("row_split")["row_time"].max()
    assert last["train"] < first["choose"] <= last["choose"] < first["judge"]


@pytest.mark.integration
def test_an_unlocked_table_is_refused(project: ProjectCopy) -> None:
    """A table that DVC does not know is refused with the command that locks it."""
    bank_customers().to_csv(project.path / TABLE, index=False)
    refused = project.run(*RUN, check=False)
    assert refused.returncode == 1
    expected = f"Error: The raw input 'table' ({TABLE}) is not locked by DVC. Lock it: `dvc add {TABLE}`"
    assert refused.stderr.splitlines()[-1].startswith(expected)


@pytest.mark.integration
def test_three_labels_are_refused_by_name(project: ProjectCopy) -> None:
    """A target with three labels ends the run before anything is fitted."""
    table = bank_customers().assign(target=lambda rows: rows["city"])
    table.to_csv(project.path / TABLE, index=False)
    project.run("dvc", "add", "--quiet", TABLE)
    configure(project, ignore=["joined"])
    refused = project.run(*RUN, check=False)
    assert refused.returncode == 1
    assert "The target 'target' must have exactly two labels; got 3" in refused.stderr
    assert not Path(project.path / "data/tabular/06_models/model.onnx").exists()
