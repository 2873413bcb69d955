"""The configuration that a commit holds."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from kedro.framework.project import settings

from ml_lifecycle.errors import ProvenanceError
from ml_lifecycle.provenance import git

#: The folder of the configuration that is not committed.
LOCAL = "local"


def parameters_in(tree: Path, environment: str, runtime_parameters: dict[str, Any]) -> dict[str, Any]:
    """Read the parameters of an environment from the files in a folder, with some that no file gives on top."""
    conf = tree / "conf"
    for folder in (LOCAL, environment):
        (conf / folder).mkdir(parents=True, exist_ok=True)
    loader = settings.CONFIG_LOADER_CLASS(
        str(conf), env=environment, runtime_params=runtime_parameters, **settings.CONFIG_LOADER_ARGS
    )
    return dict(loader["parameters"])


def parameters_at(project: Path, commit: str, environment: str) -> dict[str, Any]:
    """Read the parameters of an environment from a commit; in an image, from the files that it was built of.

    Raises:
        ProvenanceError: there is no such commit, or the image was built of changed files.
    """
    with tempfile.TemporaryDirectory() as folder:
        if git.is_image(project):
            _copy_of_image(project, Path(folder))
        else:
            git.materialise(project, commit, Path(folder), None)
        return parameters_in(Path(folder), environment, {})


def _copy_of_image(project: Path, folder: Path) -> None:
    state = git.describe(project)
    if state.dirty:
        raise ProvenanceError(
            f"This image was built of files that commit {state.commit} does not hold, so what is committed cannot be "
            "told here. Commit, and build it again: `make images`."
        )
    shutil.copytree(project / "conf", folder / "conf", ignore=shutil.ignore_patterns(LOCAL))
