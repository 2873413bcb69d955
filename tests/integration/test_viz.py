"""The static site of Kedro-Viz."""

import json
from typing import Any

import pytest

from project_copy import ProjectCopy, finished

PICTURES = {"roc_curve", "precision_recall_curve", "calibration_curve", "importance_chart", "rates_chart"}


@pytest.fixture
def site(finished_project: ProjectCopy) -> dict[str, Any]:
    """The site's data: the graph, and what each node shows."""
    built = finished(finished_project.start("kedro", "viz", "build", "--include-previews", KEDRO_ENV="test"))
    assert built.returncode == 0, built.stderr[-2000:]
    api = finished_project.path / "build/api"
    return {
        "graph": json.loads((api / "main").read_text()),
        "nodes": {path.name: json.loads(path.read_text()) for path in (api / "nodes").iterdir()},
    }


@pytest.mark.integration
def test_the_site_shows_three_pipelines_with_pictures(site: dict[str, Any]) -> None:
    """`kedro viz build` knows the three pipelines, their layers, and a preview of each picture."""
    graph = site["graph"]
    assert {"data_engineering", "training", "serving"} <= {pipeline["id"] for pipeline in graph["pipelines"]}
    names = {node["id"]: node["name"] for node in graph["nodes"]}
    previewed = {names[node] for node, shown in site["nodes"].items() if shown.get("preview_type") == "ImagePreview"}
    assert previewed == PICTURES
