"""Copies of raw inputs in DVC's cache and remote, checked against the hashes that a record names."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from ml_lifecycle.provenance.raw_inputs import has_remote, open_repo
from ml_lifecycle.provenance.record import RawInput

CHUNK = 1 << 20
FOLDER = ".dir"


def _read(file: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {}) if file.is_file() else {}


def _folder(stage: Mapping[str, Any]) -> str:
    return str(stage.get("do", stage).get("wdir", "."))  # "do": of a stage with "foreach"


def _outs(file: Path) -> Iterator[tuple[Path, str]]:
    """Yield path and MD5 of what a dvc.lock or a .dvc file locks; a stage's folder stands in dvc.yaml."""
    content = _read(file)
    if file.name != "dvc.lock":
        stages = {"": content}
        folders = {"": content.get("wdir", ".")}
    else:
        stages = content.get("stages", {})
        described = _read(file.with_name("dvc.yaml")).get("stages", {})
        folders = {name: _folder(described.get(name.partition("@")[0], {})) for name in stages}
    for name, stage in stages.items():
        for out in stage.get("outs", []):
            if "md5" in out:
                place = file.parent / folders[name] / out["path"]
                yield Path(os.path.normpath(place)), out["md5"]  # what is there may be a link into the cache


def recorded(tree: Path) -> dict[str, str]:
    """Map the paths that DVC's files in a folder lock to their MD5; paths are relative to the folder."""
    root = tree.resolve()
    files = [*root.rglob("dvc.lock"), *root.rglob("*.dvc")]
    locks = ((path, md5) for file in sorted(files) if file.is_file() for path, md5 in _outs(file))
    return {path.relative_to(root).as_posix(): md5 for path, md5 in locks if path.is_relative_to(root)}


def locked(path: str, locks: Mapping[str, str]) -> str | None:
    """Find the hash under which DVC locks a path: its own, or that of a folder it is in."""
    places = [path, *map(str, PurePosixPath(path).parents)]
    return next((locks[place] for place in places if place in locks), None)


@dataclass(frozen=True)
class Copy:
    """A copy of a raw input: where, and what is wrong with it (nothing, if it is right)."""

    place: str
    problem: str


def _holds(store: Any, oid: str) -> bool:
    """Whether an object is there; DVC's own answer is no if the place does not answer."""
    try:
        store.fs.info(store.oid_to_path(oid))
    except FileNotFoundError:
        return False
    return True


def _digest(store: Any, oid: str) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with store.fs.open(store.oid_to_path(oid), "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _objects(store: Any, raw: RawInput) -> Iterator[tuple[str, int | None]]:
    """Yield each object behind a raw input, with its size where it is known: a file, or a folder and its files."""
    if not raw.md5.endswith(FOLDER):
        yield raw.md5, raw.size
        return
    yield raw.md5, None
    with store.fs.open(store.oid_to_path(raw.md5), "rb") as file:
        for entry in json.load(file):
            yield entry["md5"], None


def _problem(store: Any, raw: RawInput, *, deep: bool) -> str:
    try:
        return _difference(store, raw, deep=deep)
    except (FileNotFoundError, KeyError, TypeError, ValueError) as error:  # of a folder whose list or files are damaged
        return f"expected a folder with all its files, found {type(error).__name__}: {error}"


def _difference(store: Any, raw: RawInput, *, deep: bool) -> str:
    for oid, size in _objects(store, raw):
        found = store.fs.info(store.oid_to_path(oid))["size"]
        if size is not None and found != size:
            return f"expected {size} bytes, found {found}"
        expected = oid.removesuffix(FOLDER)
        if deep and (digest := _digest(store, oid)) != expected:
            return f"expected MD5 {expected}, found {digest}"
    return ""


def check(
    project: Path, raw_inputs: Mapping[str, RawInput], *, deep: bool, failed: Callable[[str, Exception], None]
) -> dict[str, list[Copy]]:
    """Look for copies of raw inputs in DVC's cache and remote, and compare them with the record.

    Args:
        project: root of the DVC project.
        raw_inputs: what the record says of them.
        deep: read every byte, instead of the sizes only.
        failed: is told when a place cannot be asked.

    Returns:
        For each raw input its copies; empty where there is none.
    """
    copies: dict[str, list[Copy]] = {name: [] for name in raw_inputs}
    with open_repo(project) as repo:
        places: dict[str, Callable[[], Any]] = {"cache": lambda: repo.cache.local}
        if has_remote(repo):
            places["remote"] = repo.cloud.get_remote_odb
        for place, opened in places.items():
            try:
                store = opened()
                for name, raw in raw_inputs.items():
                    if _holds(store, raw.md5):
                        copies[name].append(Copy(place, _problem(store, raw, deep=deep)))
            except Exception as error:  # noqa: BLE001 - whatever a remote raises: the other place can still be asked
                failed(place, error)
    return copies
