"""The configuration that a commit holds."""

import tempfile
from pathlib import Path
from typing import Any

from kedro.framework.project import settings

from ml_lifecycle.provenance import git


def parameters_in(tree: Path, environment: str, runtime_parameters: dict[str, Any]) -> dict[str, Any]:
    """Read the parameters of an environment from the files in a folder, with some that no file gives on top."""
    conf = tree / "conf"
    for folder in ("local", environment):
        (conf / folder).mkdir(parents=True, exist_ok=True)
    loader = settings.CONFIG_LOADER_CLASS(
        str(conf), env=environment, runtime_params=runtime_parameters, **settings.CONFIG_LOADER_ARGS
    )
    return dict(loader["parameters"])


def parameters_at(project: Path, commit: str, environment: str) -> dict[str, Any]:
    """Read the parameters of an environment from a commit.

    Raises:
        ProvenanceError: there is no such commit.
    """
    with tempfile.TemporaryDirectory() as folder:
        git.materialise(project, commit, Path(folder), None)
        return parameters_in(Path(folder), environment, {})
