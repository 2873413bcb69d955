"""kedro-docker builds and runs this project as it does any other."""

import os
from pathlib import Path

import pytest

from compose import Compose, registered
from project_copy import ProjectCopy

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("default")]

IMAGE = "ml-lifecycle-kedro-docker"
#: Whose the files are; root's would not be those of an image that is not root's.
UID, GID = os.getuid() or 10001, os.getgid() or 10001


def test_builds_and_runs(small_project: ProjectCopy, tmp_path: Path) -> None:
    """`kedro docker build` and `kedro docker run` end in a registered version, and leave Git clean."""
    project = small_project.clone(tmp_path / "project")
    shell = Compose(project, {})
    for folder in ("data", "conf/local") if os.getuid() == 0 else ():  # what is mounted; for others it is theirs
        for path in ((project.path / folder), *(project.path / folder).rglob("*")):
            os.chown(path, UID, GID)
    arguments = shell.run("python", "deploy/images.py", "arguments").stdout.strip()
    network = f"--network {os.environ.get('BUILD_NETWORK', 'default')}"
    owner = ("--uid", str(UID), "--gid", str(GID))
    shell.run("kedro", "docker", "build", "--image", IMAGE, *owner, "--docker-args", f"{network} {arguments}")
    try:
        run = shell.run("kedro", "docker", "run", "--image", IMAGE)
    finally:
        shell.run("docker", "image", "rm", "--force", IMAGE, check=False)
    assert "1" == registered(run.stdout + run.stderr)[0]
    assert "" == shell.run("git", "status", "--porcelain").stdout
