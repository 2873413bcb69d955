"""A fresh clone whose runs say where their time goes."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from project_copy import ProjectCopy  # noqa: E402  # of the tests, which are no package


def clone(path: Path, profiler: str) -> ProjectCopy:
    """Clone the last commit, add hooks in a class ``Profile``, commit them, and restore the raw data."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(path)], check=True)
    settings = path / "src/ml_lifecycle/settings.py"
    settings.write_text(
        settings.read_text(encoding="utf-8")
        + "\nfrom ml_lifecycle.profile import Profile\n\nHOOKS = (*HOOKS, Profile())\n",
        encoding="utf-8",
    )
    (path / "src/ml_lifecycle/profile.py").write_text(profiler, encoding="utf-8")
    project = ProjectCopy(path)
    project.commit()
    project.run("dvc", "repro", "--quiet", "raw_data")
    return project
