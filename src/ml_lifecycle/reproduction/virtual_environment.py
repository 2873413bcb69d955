"""The virtual environment of a place: the recorded Python, the packages of the lock."""

import functools
import platform
import re
import shutil
import sys

from ml_lifecycle.errors import ReproductionError
from ml_lifecycle.reproduction.place import Place

#: What installing packages needs beside: where they come from.
INSTALLING = re.compile(r"^(PIP|UV)_")


def interpreter(recorded: str, given: str | None) -> str:
    """Find a Python of the recorded minor version.

    Raises:
        ReproductionError: there is none.
    """
    minor = ".".join(recorded.split(".")[:2])
    if given is not None:
        return given
    if platform.python_version().startswith(f"{minor}."):
        return getattr(sys, "_base_executable", sys.executable)
    found = shutil.which(f"python{minor}")
    if found is None:
        raise ReproductionError(
            f"The version was made with Python {recorded}; this is {platform.python_version()}, and there is no "
            f"python{minor} on the PATH. Install it, or name one with --python."
        )
    return found


def build(place: Place, python: str | None) -> None:
    """Build the environment from the lock, unless another place with the same lock has it.

    Raises:
        ReproductionError: there is no interpreter for it, or a package cannot be installed.
    """
    if place.venv.exists():
        return
    place.say("building the environment from requirements/run.txt")
    install = functools.partial(place.call, variables=place.variables(INSTALLING))
    install(interpreter(place.run.environment.python, python), "-m", "venv", ".venv")
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes")
    install(str(place.python), *pip, "--requirement", "requirements/uv.txt")
    constraints = ("--build-constraints", "requirements/build.txt")
    uv = ("-m", "uv", "pip", "install", "--python", str(place.python), "--require-hashes", *constraints)
    install(str(place.python), *uv, "--requirement", "requirements/run.txt")
