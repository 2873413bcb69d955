"""Builds the images of the Dockerfile: ``python deploy/images.py build|arguments``.

``build`` tells each image what it is made of, and leaves a list of its packages (SBOM, CycloneDX) in ``build/images``.
``arguments`` prints what to give to other builders, such as `kedro docker build`.

Base images come from ``deploy/images.env``, unless the environment or ``.env`` names others.
"""

import argparse
import hashlib
import json
import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

import ml_lifecycle
from ml_lifecycle.errors import LifecycleError
from ml_lifecycle.provenance import git

PROJECT = Path(__file__).parents[1]
BASES = PROJECT / "deploy/images.env"
SBOMS = PROJECT / "build/images"
#: Targets of the Dockerfile, and the lock of each.
LOCKS = {"tracking": "tracking", "api": "api", "pipelines": "run", "workbench": "workbench"}
TARGETS = (*LOCKS, "minio")
#: What is built if nothing is named.
USUAL = ("tracking", "api", "pipelines")
#: Stages of the Dockerfile that put our own files in their places.
OUR_STAGES = ("api-files", "tracking-files", "pipelines-files")


@dataclass(frozen=True)
class Image:
    """An image as the engine describes it."""

    name: str
    id: str
    size: int
    layers: tuple[str, ...]
    user: str

    @classmethod
    def of(cls, target: str) -> "Image | None":
        """Ask the engine for the image of a target; None if it is not built."""
        asked = subprocess.run(
            ["docker", "image", "inspect", name_of(target)], check=False, capture_output=True, text=True
        )
        if asked.returncode:
            return None
        (told,) = json.loads(asked.stdout)
        return cls(name_of(target), told["Id"], told["Size"], tuple(told["RootFS"]["Layers"]), told["Config"]["User"])


def name_of(target: str) -> str:
    """The name of an image: IMAGE_PREFIX and IMAGE_TAG are those of docker-compose.yml."""
    told = settings()
    return told["MINIO_IMAGE"] if target == "minio" else f"{told['IMAGE_PREFIX']}-{target}:{told['IMAGE_TAG']}"


def settings() -> dict[str, str]:
    """How images are named and what they are built on: the environment says it, else .env, else there are defaults."""
    defaults = {"IMAGE_PREFIX": "ml-lifecycle", "IMAGE_TAG": "local", **variables(BASES)}
    told = variables(PROJECT / ".env")
    return {name: os.environ.get(name) or told.get(name) or value for name, value in defaults.items()}


def variables(file: Path) -> dict[str, str]:
    """Read ``NAME=value`` lines, if the file is there."""
    return {name: value or "" for name, value in dotenv_values(file, interpolate=False).items()}


def arguments() -> dict[str, str]:
    """Say what the images are built of: the state of the code and the digest of the lock."""
    code = git.describe(PROJECT)
    lock = hashlib.sha256((PROJECT / "requirements/run.txt").read_bytes()).hexdigest()
    return {
        "COMMIT": code.commit,
        "DIRTY": json.dumps(code.dirty),
        "DIFF_SHA256": code.diff_sha256,
        "LOCK_SHA256": lock,
    }


def _labels(built_of: dict[str, str], base: str) -> dict[str, str]:
    created = subprocess.check_output(
        ["git", "-C", str(PROJECT), "show", "--no-patch", "--format=%cI"], text=True
    ).strip()
    return {
        "org.opencontainers.image.created": created,
        "org.opencontainers.image.revision": built_of["COMMIT"],
        "org.opencontainers.image.version": ml_lifecycle.__version__,
        "org.opencontainers.image.base.name": base,
    }


def options(flag: str, pairs: dict[str, str]) -> list[str]:
    """Put a flag before each ``NAME=value``."""
    return [part for name, value in pairs.items() for part in (flag, f"{name}={value}")]


def _docker_build(*others: str, **arguments_: str) -> None:
    network = os.environ.get("BUILD_NETWORK", "default")
    command = [
        "docker",
        "buildx",
        "build",
        "--load",
        "--network",
        network,
        *options("--build-arg", arguments_),
        *others,
    ]
    subprocess.run(command, check=True)


def build(targets: list[str], *, anew: bool = False) -> None:
    """Build images; ``anew``: our own files as if there were no cache, to see that they come out the same."""
    bases = settings()
    built_of = arguments()
    owner = {name: value for name in ("KEDRO_UID", "KEDRO_GID") if (value := os.environ.get(name))}
    SBOMS.mkdir(parents=True, exist_ok=True)
    for target in targets:
        if target == "minio":
            if Image.of(target) is None:
                _docker_build("--tag", name_of(target), str(PROJECT / "deploy/minio"),
                              GO_IMAGE=bases["GO_IMAGE"], DEBIAN_IMAGE=bases["DEBIAN_IMAGE"])  # fmt: skip
            continue
        labels = options("--label", _labels(built_of, bases["PYTHON_IMAGE"]))
        named = ["--target", target, "--tag", name_of(target)]
        if anew:
            named += ["--no-cache-filter", ",".join([*OUR_STAGES, target])]
        _docker_build(*named, *labels, str(PROJECT), PYTHON_IMAGE=bases["PYTHON_IMAGE"], **owner, **built_of)
        lock = PROJECT / f"requirements/{LOCKS[target]}.txt"
        listed = [
            "cyclonedx-py",
            "requirements",
            "--output-reproducible",
            "--output-file",
            f"{SBOMS / target}.cdx.json",
            str(lock),
        ]
        subprocess.run(listed, check=True)
        print(f"{name_of(target)}, its packages in {(SBOMS / target).relative_to(PROJECT)}.cdx.json")


def _target(name: str) -> str:
    if name not in TARGETS:
        raise argparse.ArgumentTypeError(f"'{name}' is no image; allowed are {', '.join(TARGETS)}")
    return name


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build")
    building.add_argument("target", nargs="*", default=USUAL, type=_target, help=", ".join(TARGETS))
    building.add_argument("--anew", action="store_true", help="our own files not from the cache")
    commands.add_parser("arguments")
    given = parser.parse_args()
    try:
        if given.command == "build":
            build(list(given.target), anew=given.anew)
        else:
            print(shlex.join(options("--build-arg", arguments())))
    except LifecycleError as error:
        raise SystemExit(f"Error: {error.message}") from None
    except FileNotFoundError as error:
        raise SystemExit(
            f"Error: there is no `{error.filename}` on the PATH. docs/how-to/deploy.md says what is needed."
        ) from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"Error: `{error.cmd[0]}` ended with {error.returncode}; above it says why.") from None


if __name__ == "__main__":
    main()
