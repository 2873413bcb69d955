"""What the images are: small, without secrets, not root's, the same from the same commit."""

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import images
import images_report
import pytest

from compose import Compose

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("default")]

TARGETS = ("tracking", "api", "pipelines")
PREFIX = "ml-lifecycle-small"


def inspected(compose: Compose, target: str, tag: str = "test") -> dict:
    """What the engine knows of an image."""
    (told,) = json.loads(compose.docker("image", "inspect", f"{PREFIX}-{target}:{tag}"))
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


def test_the_service_compiles_nothing_as_it_starts(compose: Compose) -> None:
    """What it loads is compiled already: it cannot keep what it compiles."""
    there = compose.run("docker", "run", "--rm", f"{PREFIX}-api:test", "python", "-c", UNCOMPILED)
    assert "" == there.stdout.strip()


UNCOMPILED = """
import sys
from importlib.util import cache_from_source
from pathlib import Path
import ml_lifecycle.api.__main__, ml_lifecycle.api.app, ml_lifecycle.api.duties
files = {getattr(module, "__file__", None) or "" for module in sys.modules.values()}
print(*(file for file in files if file.endswith(".py") and not Path(cache_from_source(file)).exists()))
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
    again = Compose(type(compose.project)(other), {**compose.variables, "IMAGE_TAG": "again"})
    shutil.copy(compose.project.path / ".env", other / ".env")
    again.run(sys.executable, "deploy/images.py", "build", "--anew", *TARGETS)
    for target in TARGETS:
        ids = [inspected(compose, target, tag)["RootFS"]["Layers"] for tag in ("test", "again")]
        assert len(ids[0]) == len(ids[1])
        for number in [number for number, (one, other_one) in enumerate(zip(*ids, strict=True)) if one != other_one]:
            one, other_one = (held(f"{PREFIX}-{target}:{tag}", number, tmp_path) for tag in ("test", "again"))
            assert one == other_one


def held(image: str, number: int, folder: Path) -> dict[str, tuple[object, ...]]:
    """What a layer holds, in whichever order: Docker 20.10 has two, and its cache may bring the other one."""
    saved = folder / "image.tar"
    subprocess.run(["docker", "image", "save", "--output", str(saved), image], check=True)
    with tarfile.open(saved) as archive:
        (told,) = json.load(archive.extractfile("manifest.json"))
        with tarfile.open(fileobj=archive.extractfile(told["Layers"][number])) as layer:
            return {file.name: facts(layer, file) for file in layer}


def facts(layer: tarfile.TarFile, file: tarfile.TarInfo) -> tuple[object, ...]:
    """What makes a file the same as another."""
    content = layer.extractfile(file).read() if file.isfile() else b""
    return file.type, file.mode, file.uid, file.gid, file.mtime, file.linkname, hashlib.sha256(content).hexdigest()


def test_another_date_makes_another_layer(tmp_path: Path) -> None:
    """The comparison sees what a layer holds."""
    found = []
    for date in (0, 0, 1):
        with tarfile.open(tmp_path / "layer.tar", "w") as layer:
            file = tarfile.TarInfo("file")
            file.mtime = date
            layer.addfile(file)
        with tarfile.open(tmp_path / "layer.tar") as layer:
            found.append(facts(layer, layer.next()))
    assert (True, False) == (found[0] == found[1], found[1] == found[2])
