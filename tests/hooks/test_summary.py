"""The last thing a run prints."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro_datasets.json import JSONDataset
from kedro_datasets.pandas import CSVDataset

import candidates
from candidates import NAME, World
from ml_lifecycle.datasets.registered_model import RegisteredModelDataset
from ml_lifecycle.hooks import SummaryHook
from ml_lifecycle.metrics import METRICS
from ml_lifecycle.signing.keys import SIGNING_KEY, VERIFYING_KEYS

pytestmark = pytest.mark.filterwarnings("default")  # of third parties; test_lifecycle.py tests that a user sees none

NEXT = "Next         `kedro viz run` (pipelines), `make ui` (runs and models), `dvc repro` (what is out of date)"
REPORT = {
    "rows": {
        "flights": {"in": 1200, "kept": 1150, "quarantined": {"no label": 40, "negative distance": 10}},
        "planes": {"in": 7, "kept": 7, "quarantined": {}},
    },
    "slices": {"train": {"rows": 1000}, "choose": {"rows": 50}, "judge": {"rows": 100}},
}
FIGURE = {"value": 0.7, "low": 0.6, "high": 0.8}
EVALUATION = {
    "rows": 1000,
    "confidence": 0.95,
    "model": dict.fromkeys(METRICS, FIGURE),
    "baselines": {"prevalence": dict.fromkeys(METRICS, FIGURE)},
    "export": {"largest_difference": 1e-07, "rows": 1000},
}
PREDICTIONS = pd.DataFrame({"model_name": ["small"] * 2, "model_version": ["3"] * 2, "model_digest": ["0d16"] * 2})


def make() -> None:
    """Stand for a node."""


def summary(capsys: pytest.CaptureFixture[str], **made: Any) -> list[str]:
    """Print the summary of a run that made these datasets; return its lines."""
    nodes = [Node(make, None, name, name=f"make_{name}") for name in made]
    SummaryHook().after_pipeline_run(pipeline=Pipeline(nodes), catalog=DataCatalog(made))
    return capsys.readouterr().out.splitlines()


def test_always_says_what_is_next(capsys: pytest.CaptureFixture[str]) -> None:
    """A run that made nothing of note only says what to do next."""
    assert ["", NEXT] == summary(capsys)


def test_counts_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """Rows in, kept and quarantined are printed for each table, with each reason."""
    assert [
        "",
        "Rows",
        "  flights          1,200 in =     1,150 kept +     50 quarantined",
        "                      40 no label",
        "                      10 negative distance",
        "  planes               7 in =         7 kept +      0 quarantined",
        "  slices       train 1,000, choose 50, judge 100",
        NEXT,
    ] == summary(capsys, data_report=MemoryDataset(REPORT))


@pytest.mark.parametrize("metric", METRICS)
def test_compares_quality(capsys: pytest.CaptureFixture[str], metric: str) -> None:
    """Each metric is printed with its interval, for the model and each baseline."""
    lines = summary(capsys, evaluation=MemoryDataset(EVALUATION))
    figure = "0.700 [0.600, 0.800]"
    assert [[metric, *figure.split(), *figure.split()]] == [line.split() for line in lines if metric in line]


def test_reports_the_export(capsys: pytest.CaptureFixture[str]) -> None:
    """The largest difference between ONNX and scikit-learn is printed."""
    lines = summary(capsys, evaluation=MemoryDataset(EVALUATION))
    assert "  ONNX against scikit-learn: largest difference 1e-07 on 1,000 rows" in lines


@pytest.mark.parametrize(
    ("inside", "shown"), [(True, "made/predictions.csv"), (False, "{folder}/made/predictions.csv")]
)
def test_names_who_predicted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool, shown: str
) -> None:
    """Predictions are named with file, rows, version and digest; a file in the project by its relative path."""
    if inside:
        monkeypatch.chdir(tmp_path)
    dataset = CSVDataset(filepath=str(tmp_path / "made/predictions.csv"), load_args={"dtype": str})
    dataset.save(PREDICTIONS)
    expected = f"Predictions  {shown.format(folder=tmp_path)}: 2 rows by 'small' version 3, SHA-256 0d16"
    assert expected in summary(capsys, predictions=dataset)


def test_names_pictures_and_card(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures and model card are named with their files."""
    monkeypatch.chdir(tmp_path)
    curves = ["roc_curve", "precision_recall_curve", "calibration_curve", "importance_chart", "rates_chart"]
    names = [*curves, "model_card", "model_card_page"]
    lines = summary(capsys, **{name: JSONDataset(filepath=str(tmp_path / name)) for name in names})
    assert [f"Pictures     {' '.join(curves)}", "Model card   model_card_page"] == lines[1:3]


class TestRegistered:
    """What a run registered, and who answers now."""

    @pytest.fixture
    def world(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
        """Make an empty registry."""
        for name in (SIGNING_KEY, VERIFYING_KEYS):
            monkeypatch.delenv(name, raising=False)
        with candidates.world(tmp_path) as made:
            yield made

    @pytest.fixture
    def entry(self, world: World) -> RegisteredModelDataset:
        """Return the catalog's entry."""
        registry = {
            "model": NAME,
            "alias": "production",
            "promote_first": "clean_tree",
            "history": str(world.folder / "history"),
            "development_keys": False,
        }
        lock = str(candidates.lock(world.folder))
        return RegisteredModelDataset(registry=registry, alias="production", lock=lock, keys=str(world.keys.folder))

    def test_the_first_version(self, capsys: pytest.CaptureFixture[str], entry: RegisteredModelDataset) -> None:
        """Number, digest, decision and aliases are told."""
        entry.save(candidates.candidate())
        capsys.readouterr()
        assert summary(capsys, registered_model=entry) == [
            "",
            f"Registered 'small_model' version 1, SHA-256 {candidates.small_model().digest}",
            "  promoted to staging and production: the first version, and the gate says yes",
            "  aliases: @production = version 1, @staging = version 1",
            NEXT,
        ]

    def test_a_refused_version(self, capsys: pytest.CaptureFixture[str], entry: RegisteredModelDataset) -> None:
        """Why a version got no alias is told with the figures."""
        strict = candidates.PARAMETERS | {"gate": candidates.GATE | {"floors": {"roc_auc": 0.9}}}
        entry.save(candidates.candidate(parameters=strict))
        capsys.readouterr()
        lines = summary(capsys, registered_model=entry)
        assert lines[2].startswith("  not promoted to staging: no: floors: roc_auc 0.8000, needed: at least 0.9")
        assert lines[3] == "  aliases: none"

    def test_only_what_this_run_made(
        self, capsys: pytest.CaptureFixture[str], world: World, entry: RegisteredModelDataset
    ) -> None:
        """A version of an earlier run is not told as made, but where the aliases point is."""
        world.promote(world.add())
        entry.save(candidates.candidate(candidates.small_model(0.75)))
        capsys.readouterr()
        lines = summary(capsys, registered_model=entry)
        assert ["Registered 'small_model' version 2"] == [line[:34] for line in lines if line.startswith("Registered")]
        assert lines[2:4] == [
            "  not promoted: version 1 is in production; compare them: `kedro model promote 2 --to production`",
            "  aliases: @production = version 1",
        ]

    def test_without_a_run(self, capsys: pytest.CaptureFixture[str], entry: RegisteredModelDataset) -> None:
        """Without an open run nobody can say what it registered."""
        entry.save(candidates.candidate())
        mlflow.end_run()
        capsys.readouterr()
        assert summary(capsys, registered_model=entry) == ["", NEXT]

    def test_another_kind_of_registry(self, capsys: pytest.CaptureFixture[str], world: World) -> None:
        """A catalog that keeps the model elsewhere has no versions to tell."""
        assert summary(capsys, registered_model=MemoryDataset()) == ["", NEXT]
