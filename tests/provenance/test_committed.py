"""The configuration that a commit holds, also where there is no repository."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import yaml
from kedro.framework.project import configure_project

from ml_lifecycle.errors import ProvenanceError
from ml_lifecycle.provenance.committed import parameters_at
from project_copy import PROJECT

CLEAN = {"commit": "0a" * 20, "dirty": False, "diff_sha256": hashlib.sha256().hexdigest()}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return a project as it lies in an image, with a configuration of one's own beside the committed one."""
    configure_project("ml_lifecycle")
    shutil.copytree(PROJECT / "conf", tmp_path / "conf", ignore=shutil.ignore_patterns("local"))
    (tmp_path / "code.json").write_text(json.dumps(CLEAN), encoding="utf-8")
    (tmp_path / "conf/local").mkdir()
    (tmp_path / "conf/local/parameters.yml").write_text("gate: {minimum_gain: 0.9}\n", encoding="utf-8")
    return tmp_path


def test_an_image_holds_the_files_of_its_commit(image: Path) -> None:
    """What lies in conf/local was put there later."""
    expected = yaml.safe_load((PROJECT / "conf/base/parameters_gate.yml").read_text(encoding="utf-8"))
    assert expected["gate"] == parameters_at(image, "HEAD", "base")["gate"]


def test_of_changed_files_nothing_is_known(image: Path) -> None:
    """What they were changed from is not in the image."""
    changed = {**CLEAN, "dirty": True, "diff_sha256": "1" * 64}
    (image / "code.json").write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(ProvenanceError, match=r"built of files that commit 0a0a.* does not hold.*`make images`"):
        parameters_at(image, "HEAD", "base")
