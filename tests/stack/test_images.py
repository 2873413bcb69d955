"""What the images are: small, without secrets, not root's, the same from the same commit."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import images
import images_report
import pytest

from compose import Compose

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("default")]

TARGETS = ("tracking", "api", "pipelines")
PREFIX = "ml-lifecycle-small"


def inspected(compose: Compose, target: str) -> dict:
    """What the engine knows of an image."""
    (told,) = json.loads(compose.docker("image", "inspect", f"{PREFIX}-{target}:test"))
    return dict(told)


def secrets_in(compose: Compose, image: str) -> list[str]:
    """What the scan finds, that knows the passwords of this stack."""
    return images_report.secrets_in(image, images_report.known_secrets(compose.project.path / ".env"))


@pytest.mark.parametrize("target", TARGETS)
class TestEach:
    """Each image."""

    def test_holds_no_secret(self, compose: Compose, target: str) -> None:
        """Neither keys nor values of .env nor the repository, in layers and history."""
        assert [] == secrets_in(compose, f"{PREFIX}-{target}:test")

    def test_is_not_roots(self, compose: Compose, target: str) -> None:
        """The user is a number, so that Kubernetes can see that it is not root."""
        assert "10001:10001" == inspected(compose, target)["Config"]["User"]

    def test_says_what_it_is(self, compose: Compose, target: str) -> None:
        """OCI labels name title, licence, version, base and commit."""
        labels = inspected(compose, target)["Config"]["Labels"]
        commit = compose.run("git", "rev-parse", "HEAD").stdout.strip()
        assert commit == labels["org.opencontainers.image.revision"]
        named = ("title", "description", "licenses", "version", "created", "base.name")
        assert all(labels[f"org.opencontainers.image.{name}"] for name in named)

    def test_lists_its_packages(self, compose: Compose, target: str) -> None:
        """The SBOM names each package of the lock with its version."""
        listed = json.loads((compose.project.path / f"build/images/{target}.cdx.json").read_text(encoding="utf-8"))
        lock = (compose.project.path / f"requirements/{images.LOCKS[target]}.txt").read_text(encoding="utf-8")
        locked = {line.split()[0] for line in lock.splitlines() if "==" in line and not line.startswith((" ", "#"))}
        assert locked == {f"{part['name']}=={part['version']}" for part in listed["components"]}


def test_the_service_is_small(compose: Compose) -> None:
    """It holds nothing that makes models."""
    assert inspected(compose, "api")["Size"] <= images_report.LARGEST["api"]
    there = compose.run("docker", "run", "--rm", f"{PREFIX}-api:test", "python", "-c", SEARCH)
    assert "fastapi" == there.stdout.strip()


SEARCH = """
from importlib.util import find_spec
print(*(name for name in ("kedro", "dvc", "sklearn", "pandas", "pyarrow", "fastapi") if find_spec(name)))
"""


PLANTED = f"""
FROM {PREFIX}-tracking:test
USER 0
COPY note.txt pair.pem /app/
RUN rm /app/note.txt
ENV PASSWORD={{secret}}
"""


def test_a_planted_secret_is_found(compose: Compose, tmp_path: Path) -> None:
    """In a layer, also one that a later layer hides, and in the history."""
    secret = compose.secret("MINIO_ROOT_PASSWORD")
    (tmp_path / "note.txt").write_text(f"password: {secret}", encoding="utf-8")
    shutil.copy(compose.project.path / ".keys/signing.key", tmp_path / "pair.pem")
    (tmp_path / "Dockerfile").write_text(PLANTED.format(secret=secret), encoding="utf-8")
    compose.docker("build", "--quiet", "--tag", "ml-lifecycle-planted", str(tmp_path))
    try:
        found = "\n".join(secrets_in(compose, "ml-lifecycle-planted"))
    finally:
        compose.docker("image", "rm", "ml-lifecycle-planted")
    assert "note.txt holds MINIO_ROOT_PASSWORD" in found
    assert "pair.pem holds a private key" in found
    assert "history" in found


def test_the_same_commit_gives_the_same_layers(compose: Compose, tmp_path: Path) -> None:
    """Files of ours that were written at another time, in another place, without any cache."""
    other = tmp_path / "project"
    subprocess.run(["git", "clone", "--quiet", str(compose.project.path), str(other)], check=True)
    built = {target: inspected(compose, target)["RootFS"]["Layers"] for target in TARGETS}
    again = Compose(type(compose.project)(other), {**compose.variables, "IMAGE_TAG": "again"})
    shutil.copy(compose.project.path / ".env", other / ".env")
    again.run(sys.executable, "deploy/images.py", "build", "--anew", *TARGETS)
    for target in TARGETS:
        (told,) = json.loads(again.docker("image", "inspect", f"{PREFIX}-{target}:again"))
        assert built[target] == told["RootFS"]["Layers"]
