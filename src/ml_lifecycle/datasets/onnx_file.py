"""An ONNX model in a file, local or on an object store."""

from pathlib import PurePosixPath
from typing import Any

import fsspec
from kedro.io import AbstractDataset
from kedro.io.core import get_filepath_str, get_protocol_and_path

from ml_lifecycle.onnx_model import OnnxModel


class OnnxFileDataset(AbstractDataset[OnnxModel, OnnxModel]):
    """Loads and saves the bytes of a model, so that the digest of the file is that of the model."""

    def __init__(
        self, *, filepath: str, credentials: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        """Take a path or URL that fsspec knows, and its credentials."""
        self._protocol, path = get_protocol_and_path(filepath)
        self._filepath = PurePosixPath(path)
        options = {"auto_mkdir": True} if self._protocol == "file" else {}
        self._fs = fsspec.filesystem(self._protocol, **options, **(credentials or {}))
        self.metadata = metadata

    def load(self) -> OnnxModel:
        """Read the model."""
        return OnnxModel(self._fs.cat_file(get_filepath_str(self._filepath, self._protocol)))

    def save(self, data: OnnxModel) -> None:
        """Write the model."""
        self._fs.pipe_file(get_filepath_str(self._filepath, self._protocol), data.content)

    def _exists(self) -> bool:
        return bool(self._fs.exists(get_filepath_str(self._filepath, self._protocol)))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "protocol": self._protocol}
