"""The raw data of a place: from DVC's cache or remote, at the recorded hashes."""

import contextlib
import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from ml_lifecycle.errors import ReproductionError
from ml_lifecycle.provenance.raw_inputs import has_remote, open_repo
from ml_lifecycle.provenance.record import RawInput
from ml_lifecycle.reproduction.outcome import Row
from ml_lifecycle.reproduction.place import Place


def restore(project: Path, place: Place, raw_inputs: Mapping[str, RawInput]) -> None:
    """Bring the raw tables from the cache or remote of the project; what neither has, the run makes by its stage.

    The caller's DVC does it, with the caller's keys, so that the code of the commit does not see them. What was
    fetched stays in the cache: whoever is interrupted goes on from there.
    """
    place.say("restoring the raw data at the recorded hashes")
    shared = project / ".dvc/config.local"
    if shared.exists():
        shutil.copyfile(shared, place.tree / ".dvc/config.local")
    with open_repo(project) as repo:
        cache, commands = str(repo.cache.local_cache_dir), ["checkout", *["pull"] * has_remote(repo)]
    dvc, variables = (sys.executable, "-P", "-m", "dvc"), dict(os.environ)
    place.call(*dvc, "cache", "dir", "--quiet", "--local", cache, variables=variables)
    for raw in raw_inputs.values():
        for command in commands:
            with contextlib.suppress(ReproductionError):
                place.call(*dvc, command, "--quiet", raw.path, variables=variables)
                break


def compare(place: Place, raw_inputs: Mapping[str, RawInput]) -> list[Row]:
    """Compare the bytes of the raw tables that are there with the record, without DVC."""
    there = {name: raw for name, raw in raw_inputs.items() if (place.tree / raw.path).is_file()}
    return [Row(f"raw data {name}", raw.md5, _md5(place.tree / raw.path)) for name, raw in there.items()]


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
