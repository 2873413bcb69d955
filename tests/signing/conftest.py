"""Pairs of keys, and a model's folder with and without a signature."""

from pathlib import Path

import pytest

from ml_lifecycle.signing.keys import PRIVATE, SIGNING_KEY, VERIFYING_KEYS, make_pair
from ml_lifecycle.signing.signature import sign


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name no keys in the environment."""
    for name in (SIGNING_KEY, VERIFYING_KEYS):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a pair of keys."""
    folder = tmp_path_factory.mktemp("pair")
    make_pair(folder)
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with another pair of keys."""
    folder = tmp_path_factory.mktemp("other")
    make_pair(folder)
    return folder


@pytest.fixture
def files() -> dict[str, bytes]:
    """What the model's folder holds."""
    return {"model.onnx": b"\0model", "provenance.json": b"{}", "empty": b"", "deep/er/file": b"deep", ".hidden": b"h"}


@pytest.fixture
def model(tmp_path: Path, files: dict[str, bytes]) -> Path:
    """Make a model's folder that is not signed."""
    folder = tmp_path / "model"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def signed(model: Path, pair: Path) -> Path:
    """Make a model's folder that is signed."""
    sign(model, pair / PRIVATE)
    return model
