"""The overlays as kustomize builds them."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import yaml
from manifests import Manifest

PROJECT = Path(__file__).parents[2]
OVERLAYS = {folder.name: folder for folder in sorted((PROJECT / "deploy/k8s/overlays").iterdir())}


def _go_programs() -> str:
    return os.environ.get("GOBIN") or f"{os.environ.get('GOPATH') or Path.home() / 'go'}/bin"


@cache
def pinned() -> str | None:
    """Find the pinned kustomize."""
    version = (PROJECT / "deploy/k8s/version").read_text(encoding="utf-8").strip()
    found = shutil.which("kustomize", path=f"{_go_programs()}{os.pathsep}{os.environ['PATH']}")
    is_it = found is not None and subprocess.check_output([found, "version"], text=True).strip() == version
    return found if is_it else None


def source() -> str | None:
    """Say where kustomize comes from; None if it is not there and cannot be built."""
    return pinned() or ("built by Go, once" if shutil.which("go") else None)


@cache
def program() -> str:
    """The pinned kustomize, which is built if it is not there."""
    if pinned() is None:
        subprocess.run(["make", "--silent", "kustomize"], cwd=PROJECT, check=True)
        pinned.cache_clear()
    found = pinned()
    assert found is not None, "`make kustomize` puts it where `go install` puts programs"
    return found


def build(overlay: str) -> list[Manifest]:
    """The manifests of an overlay."""
    return list(yaml.safe_load_all(subprocess.check_output([program(), "build", str(OVERLAYS[overlay])], text=True)))
