"""An ONNX model in a file."""

import hashlib
from pathlib import Path

import pytest

from ml_lifecycle.datasets.onnx_file import OnnxFileDataset
from ml_lifecycle.onnx_model import OnnxModel

MODEL = OnnxModel(b"any bytes")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of a file in a folder that does not exist yet."""
    return tmp_path / "new" / "model.onnx"


def test_the_file_is_the_model(file: Path) -> None:
    """The SHA-256 of the file is the digest of the model."""
    OnnxFileDataset(filepath=str(file)).save(MODEL)
    assert MODEL.digest == hashlib.sha256(file.read_bytes()).hexdigest()


def test_load_gives_what_was_saved(file: Path) -> None:
    """A saved model is loaded with the same bytes."""
    dataset = OnnxFileDataset(filepath=str(file))
    dataset.save(MODEL)
    assert dataset.load() == MODEL


def test_object_store() -> None:
    """Any file system that fsspec knows will do."""
    dataset = OnnxFileDataset(filepath="memory://models/model.onnx")
    dataset.save(MODEL)
    assert dataset.load() == MODEL


def test_exists_after_saving(file: Path) -> None:
    """The dataset exists once its file does."""
    dataset = OnnxFileDataset(filepath=str(file))
    before = dataset.exists()
    dataset.save(MODEL)
    assert (before, dataset.exists()) == (False, True)


def test_describes_itself(file: Path) -> None:
    """Messages name file and protocol."""
    assert str(OnnxFileDataset(filepath=str(file))) == (
        f"ml_lifecycle.datasets.onnx_file.OnnxFileDataset(filepath={str(file)!r}, protocol='file')"
    )
