"""Runs Kedro's command line in a process of its own, forked from one that has imported the large libraries already.

Nothing of the project, of Kedro's framework or of another run is in it: those read files and variables as they are
imported.
"""

import atexit
import multiprocessing.context
import multiprocessing.forkserver
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from coverage.multiproc import original_bootstrap

from ml_lifecycle import defaults

#: Third parties, in which most of the time goes that a command takes to start.
LIBRARIES = [
    "IPython", "dvc.repo", "dvc_s3", "holidays", "jinja2", "kedro.config", "kedro.io", "kedro.pipeline",
    "kedro_datasets.pandas", "matplotlib.pyplot", "mlflow.onnx", "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store", "model_signing.signing", "model_signing.verifying", "onnxruntime",
    "optuna", "pandera.pandas", "s3fs", "skl2onnx", "sklearn.ensemble", "sklearn.inspection", "sklearn.linear_model",
    "sqlalchemy",
]  # fmt: skip

multiprocessing.forkserver.set_forkserver_preload(LIBRARIES)


class Forked(multiprocessing.context.ForkServerProcess):
    """A process of which coverage is not measured: what runs in it is a copy of the project, not the project."""

    _bootstrap = original_bootstrap


def _start_server() -> None:
    """Start the process that imports, with the variables that libraries read as they are loaded."""
    missing = {name: value for name, value in defaults.read().items() if name not in os.environ}
    os.environ.update(missing)
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        for name in missing:
            del os.environ[name]


def _be_kedro(
    arguments: tuple[str, ...], folder: Path, environment: Mapping[str, str], stdout: str, stderr: str
) -> None:
    """Become `kedro ARGUMENTS` in a folder."""
    for descriptor, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:] = [str(folder / "src"), *(path for path in sys.path if "/lib/python" in path)]
    sys.argv = list(arguments)
    for name in [name for name in sys.modules if name.split(".")[0] == "ml_lifecycle"]:
        del sys.modules[name]
    from kedro.framework.cli import main

    try:
        sys.exit(main())
    finally:
        atexit._run_exitfuncs()  # which multiprocessing leaves out


def run(arguments: tuple[str, ...], folder: Path, environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run ``kedro …`` in a folder with nothing but the given variables; take what it printed."""
    _start_server()
    with tempfile.NamedTemporaryFile() as stdout, tempfile.NamedTemporaryFile() as stderr:
        process = Forked(target=_be_kedro, args=(arguments, folder, dict(environment), stdout.name, stderr.name))
        process.start()
        process.join()
        out, err = (Path(file.name).read_text(encoding="utf-8") for file in (stdout, stderr))
    return subprocess.CompletedProcess(arguments, process.exitcode or 0, out, err)
