"""What images are built of, as far as it can be seen without building them; the rest is in tests/stack."""

import hashlib
import json
import re
import shutil
import sys
import tomllib
from pathlib import Path

import images
import images_report
import pytest

from ml_lifecycle.errors import LifecycleError
from project_copy import PROJECT

DOCKERFILES = ("Dockerfile", "deploy/minio/Dockerfile")
BASES = images.variables(images.BASES)


@pytest.mark.parametrize("name", DOCKERFILES)
def test_a_base_image_has_one_name(name: str) -> None:
    """What a Dockerfile takes without being told is what deploy/images.env says."""
    text = (PROJECT / name).read_text(encoding="utf-8")
    defaults = dict(re.findall(r"^ARG (\w+_IMAGE)=([^$\s]+)$", text, re.MULTILINE))
    assert defaults
    assert defaults == {image: BASES[image] for image in defaults}


def test_compose_takes_the_same_images() -> None:
    """Its own defaults are those of deploy/images.env."""
    text = (PROJECT / "docker-compose.yml").read_text(encoding="utf-8")
    defaults = dict(re.findall(r"\$\{((?:POSTGRES|MINIO)_IMAGE):-([^}]+)\}", text))
    assert defaults == {name: BASES[name] for name in ("POSTGRES_IMAGE", "MINIO_IMAGE")}


def test_public_base_images_are_exact() -> None:
    """Each has a version down to the last number, none is `latest`."""
    public = {name: value for name, value in BASES.items() if name != "MINIO_IMAGE"}
    assert not [value for value in public.values() if not re.fullmatch(r"[a-z]+:\d+\.\d+(\.\d+)?(-\w+)*", value)]


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the file before what is usual; comments and empty values say nothing."""
    text = "# GO_IMAGE=a:1\nMINIO_IMAGE=b:2\nexport PYTHON_IMAGE='c:3'\nIMAGE_TAG=\n"
    (tmp_path / ".env").write_text(text, encoding="utf-8")
    monkeypatch.setattr(images, "PROJECT", tmp_path)
    for name in (*BASES, "IMAGE_PREFIX", "IMAGE_TAG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MINIO_IMAGE", "mine:4")
    named = {"MINIO_IMAGE": "mine:4", "PYTHON_IMAGE": "c:3"}
    assert images.settings() == {"IMAGE_PREFIX": "ml-lifecycle", "IMAGE_TAG": "local", **BASES, **named}
    assert (images.name_of("minio"), images.name_of("api")) == ("mine:4", "ml-lifecycle-api:local")


@pytest.mark.parametrize(
    ("words", "built"), [([], ["tracking", "api", "pipelines"]), (["minio", "api"], ["minio", "api"])]
)
def test_without_a_name_the_usual_ones_are_built(
    words: list[str], built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `make project-images` calls it."""
    asked: list[list[str]] = []
    monkeypatch.setattr(images, "build", lambda targets, **_: asked.append(targets))
    monkeypatch.setattr(sys, "argv", ["images.py", "build", *words])
    images.main()
    assert asked == [built]


def test_an_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With those that are known."""
    monkeypatch.setattr(sys, "argv", ["images.py", "build", "apo"])
    with pytest.raises(SystemExit):
        images.main()
    assert "'apo' is no image; allowed are tracking, api, pipelines, workbench, minio" in capsys.readouterr().err


def test_a_machine_without_docker_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In one line; git is there."""
    (tmp_path / "git").symlink_to(str(shutil.which("git")))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(images, "SBOMS", tmp_path / "boms")
    monkeypatch.setattr(sys, "argv", ["images.py", "build", "api"])
    with pytest.raises(SystemExit, match=r"^Error: there is no `docker` on the PATH\."):
        images.main()


def test_images_are_told_what_they_are_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit, whether files were changed, and the lock; a tag for them comes from the environment."""
    told = images.arguments()
    assert re.fullmatch(r"[0-9a-f]{40}", told["COMMIT"])
    assert json.loads(told["DIRTY"]) is (told["DIFF_SHA256"] != hashlib.sha256().hexdigest())
    assert re.fullmatch(r"[0-9a-f]{64}", told["LOCK_SHA256"])
    dockerfile = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    assert not [name for name in told if f"ARG {name}=" not in dockerfile]
    monkeypatch.setenv("IMAGE_PREFIX", "other")
    monkeypatch.setenv("IMAGE_TAG", "1")
    assert images.name_of("api") == "other-api:1"


def test_files_of_no_commit_give_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a repository nobody could say what an image holds."""
    monkeypatch.setattr(images, "PROJECT", tmp_path)
    with pytest.raises(LifecycleError):
        images.arguments()


def test_each_image_has_its_lock() -> None:
    """The targets of the Dockerfile are those that are built, and each lock is there."""
    text = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
    assert set(images.LOCKS) <= stages
    assert set(images.OUR_STAGES) <= stages
    assert not [lock for lock in images.LOCKS.values() if not (PROJECT / f"requirements/{lock}.txt").exists()]


def test_the_last_stage_is_that_of_the_pipelines() -> None:
    """`kedro docker build` names none, and so gets the last."""
    text = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE)[-1] == "pipelines"


def test_no_image_gets_more_than_it_needs() -> None:
    """Everything is left out but what is named: no data, no keys, no repository, no .env."""
    lines = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert next(line for line in lines if not line.startswith("#")) == "*"
    named = {line[1:] for line in lines if line.startswith("!")}
    assert not named & {".", ".git", ".env", ".keys", "data", "build", "mlruns"}
    of_git = (PROJECT / ".gitignore").read_text(encoding="utf-8")
    for line in ("conf/**/*credentials*", "!conf/minio/credentials.yml"):  # credentials that Git does not take
        assert lines.index(line) > lines.index("!conf")
        assert line.replace("!conf", "!/conf") in of_git


def test_the_service_is_locked_without_what_makes_models() -> None:
    """No Kedro, no DVC, no scikit-learn, no pandas."""
    lock = (PROJECT / "requirements/api.txt").read_text(encoding="utf-8")
    held = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    assert not held & {"kedro", "dvc", "scikit-learn", "pandas", "pyarrow", "kedro-datasets", "kedro-mlflow"}
    wanted = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]["api"]
    assert not [name for name in wanted if name not in held]


def test_secrets_are_known_by_their_names(tmp_path: Path) -> None:
    """Passwords and tokens are searched for; addresses, public names and digests are not."""
    lines = [
        "AWS_SECRET_ACCESS_KEY=0123456789",
        "JUPYTER_TOKEN=abcdefghij",
        "API_KEY=qwertzuiop",
        "POSTGRES_PASSWORD=x",
    ]
    lines += ["AWS_ACCESS_KEY_ID=pipelines", "API_KEY_HASHES=00112233445566", "AWS_ENDPOINT_URL=http://127.0.0.1:9000"]
    (tmp_path / ".env").write_text("\n".join(lines), encoding="utf-8")
    assert set(images_report.known_secrets(tmp_path / ".env").values()) == {
        "AWS_SECRET_ACCESS_KEY",
        "JUPYTER_TOKEN",
        "API_KEY",
    }


def test_the_report_tells_what_is_exceeded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An image that is too large, root's, holds a secret or starts too slowly makes it fail; each is named."""
    monkeypatch.setattr(images_report, "seconds_to_ready", lambda _: [1.0])
    monkeypatch.setattr(images_report, "secrets_in", lambda *_: [])
    good = {"api": images.Image("our-api", "sha256:1", 370_000_000, ("a",), "10001:10001")}
    monkeypatch.setattr(images.Image, "of", good.get)
    assert images_report.report() == 0
    assert capsys.readouterr().err == ""

    bad = {"api": images.Image("our-api", "sha256:1", 401_000_000, ("a",), "root")}
    monkeypatch.setattr(images.Image, "of", bad.get)
    monkeypatch.setattr(images_report, "seconds_to_ready", lambda _: [3.4, 3.2])
    monkeypatch.setattr(images_report, "secrets_in", lambda *_: ["history: config holds API_KEY"])
    assert images_report.report() == 1
    assert capsys.readouterr().err.splitlines() == [
        "Error: our-api takes 401 MB; allowed are 400",
        "Error: our-api runs as 'root', not as a number other than 0",
        "Error: history: config holds API_KEY",
        "Error: ready after 3.20 s; allowed are 3",
    ]


@pytest.mark.parametrize(
    ("seconds", "starts"),
    [([1.0] * 30, 5), ([4.0] * 4 + [2.9] + [1.0] * 30, 5), ([4.0] * 12 + [2.9] * 30, 13), ([4.0] * 30, 20)],
)
def test_a_slow_start_is_tried_again(seconds: list[float], starts: int) -> None:
    """Beside other work a start may take several times as long; a service that is slow each time is called slow."""
    coming = iter(seconds)
    assert images_report.enough(lambda: next(coming)) == seconds[:starts]


def test_what_does_not_get_ready_leaves_its_words() -> None:
    """The last of them, without those on the questions that it was asked."""
    said = [f"line {number}" for number in range(30)] + ['{"event":"request","route":"/ready"}'] * 50
    with pytest.raises(SystemExit) as ended:
        images_report.wait_for("http://127.0.0.1:9/ready", 0.1, lambda: "\n".join(said))
    assert str(ended.value).splitlines() == [
        "Error: http://127.0.0.1:9/ready does not answer with 200 within 0.1 s. It told:",
        *said[10:30],
    ]
