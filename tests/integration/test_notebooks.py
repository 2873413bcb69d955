"""The notebooks run from top to bottom after a run, and are committed without outputs."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from project_copy import PROJECT, Lifecycle, environment

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
pytestmark = [
    pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem),
    pytest.mark.filterwarnings("default"),  # of third parties; test_lifecycle.py tests that a user sees none
]


def _execute(path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> NotebookNode:
    """Execute a notebook as Jupyter does: in the folder where it lies."""
    for name, value in {**environment(project), "KEDRO_ENV": "test", "MPLBACKEND": "agg"}.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(project / "notebooks")}})
    client.execute()
    return notebook


@pytest.mark.integration
def test_runs_from_top_to_bottom(path: Path, lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook finds catalog and registry from the folder it lies in, and each of its cells succeeds."""
    notebook = _execute(path, lifecycle.project.path, monkeypatch)

    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert list(range(1, len(counts) + 1)) == counts


def test_is_committed_without_outputs(path: Path) -> None:
    """A notebook carries neither outputs nor execution counts, so results never get into Git."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]

    assert [([], None)] * len(cells) == [(cell.outputs, cell.execution_count) for cell in cells]


def test_has_stable_cell_ids(path: Path) -> None:
    """Cell ids number the cells, so that saving a notebook again changes nothing."""
    ids = [cell.id for cell in nbformat.read(path, as_version=4).cells]

    assert [str(number) for number in range(len(ids))] == ids


def test_names_no_place_of_one_machine(path: Path) -> None:
    """A notebook holds no absolute path."""
    assert [] == re.findall(r"(?:/home/|/Users/|/work/|/tmp/|[A-Z]:\\\\)\S*", path.read_text(encoding="utf-8"))
