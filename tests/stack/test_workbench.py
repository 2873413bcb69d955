"""JupyterLab and Kedro-Viz beside the stack."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from compose import Compose

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("default")]
PROFILES = ("--profile", "jupyter", "--profile", "viz")


@pytest.fixture(scope="module")
def workbench(compose: Compose) -> Iterator[Compose]:
    """Build the image and start both, as docs/how-to/deploy.md says."""
    compose.make("project-images", "TARGETS=workbench")
    compose.run("docker", "compose", *PROFILES, "up", "--detach", "--wait")
    yield compose
    compose.run("docker", "compose", *PROFILES, "rm", "--stop", "--force", "jupyter", "viz")


def asked(workbench: Compose, port: str, path: str, token: str = "") -> Any:
    """What a page on this machine answers."""
    headers = {"Authorization": f"token {token}"} if token else {}
    url = f"http://127.0.0.1:{workbench.variables[port]}{path}"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        return json.load(answer)


def test_viz_shows_the_pipelines(workbench: Compose) -> None:
    """All of them, and the steps between the tables."""
    told = asked(workbench, "VIZ_PORT", "/api/main")
    assert {"__default__", "data_engineering", "training", "serving"} <= {each["id"] for each in told["pipelines"]}
    assert "assemble_model_input" in {node["name"] for node in told["nodes"]}


def test_jupyter_asks_who_you_are(workbench: Compose) -> None:
    """The token of .env opens it, none or another does not."""
    names = [
        each["name"]
        for each in asked(workbench, "JUPYTER_PORT", "/api/contents/notebooks", workbench.secret("JUPYTER_TOKEN"))[
            "content"
        ]
    ]
    assert sum(name.endswith(".ipynb") for name in names) == 2
    for token in ("", "another"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            asked(workbench, "JUPYTER_PORT", "/api/contents/notebooks", token)


@pytest.mark.parametrize("name", ["01-explore-the-locked-data", "02-read-a-model-record"])
def test_a_notebook_runs_and_can_be_saved(workbench: Compose, served: dict[str, Any], name: str) -> None:
    """Data and registry are those of the stack."""
    path = f"notebooks/{name}.ipynb"
    execute = ("docker", "compose", "exec", "--no-TTY", "jupyter", "jupyter", "execute", "--inplace", path)
    workbench.run(*execute)
    content = asked(workbench, "JUPYTER_PORT", f"/api/contents/{path}", workbench.secret("JUPYTER_TOKEN"))["content"]
    assert all(cell["execution_count"] for cell in content["cells"] if cell["cell_type"] == "code")
