"""LitServe with the ONNX file, run by the interpreter of the environment that has LitServe.

``python benchmarks/serving_peers/lit.py MODEL PORT single|batching``. One worker in both cases, with the queue that
its documentation names for many requests. ``batching`` waits up to a millisecond for more requests.
"""

import sys
from typing import Any

import litserve
import numpy as np
import onnxruntime

MODEL, PORT, KIND = sys.argv[1:]


class Api(litserve.LitAPI):
    """Features by column in, probabilities out."""

    def setup(self, device: str) -> None:
        """Load the model as the others do: with one thread."""
        del device
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
        inputs = self.session.get_inputs()
        self.types = {column.name: np.float32 if "float" in column.type else np.object_ for column in inputs}

    def decode_request(self, request) -> dict[str, Any]:  # type: ignore[no-untyped-def]  # noqa: ANN001
        """Make arrays; a type of the request would be taken for that of a parameter."""
        return {name: np.array(request["inputs"][name], dtype=kind) for name, kind in self.types.items()}

    def predict(self, x: dict[str, Any]) -> Any:
        """Run the model."""
        return self.session.run(None, x)[0]

    def encode_response(self, output: Any) -> dict[str, list[float]]:
        """Make JSON."""
        return {"probability": output.tolist()}


class Batching(Api):
    """Answers several requests with one run of the model."""

    def batch(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Join requests."""
        self.sizes = [len(next(iter(columns.values()))) for columns in inputs]
        return {name: np.concatenate([columns[name] for columns in inputs]) for name in self.types}

    def unbatch(self, output: Any) -> list[Any]:
        """Take the answers apart."""
        return np.split(output, np.cumsum(self.sizes)[:-1])


if __name__ == "__main__":
    api = Batching(max_batch_size=64, batch_timeout=0.001) if KIND == "batching" else Api()
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(host="127.0.0.1", port=int(PORT), generate_client_file=False, log_level="warning")
