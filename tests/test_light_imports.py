"""What a process that answers one request after the other need not load."""

import subprocess
import sys

import pytest

#: Used by a process that answers.
LIGHT = ("features", "roles", "onnx_model", "request_id", "model_folder", "signing.keys", "signing.signature")
#: Each costs a second at the start and a hundred megabytes in every process, or is no business of a service.
HEAVY = {"pandas", "pandera", "onnx", "mlflow", "sklearn", "kedro", "pyarrow"}


def loaded_by(*modules: str) -> set[str]:
    """Import modules in a fresh interpreter; name what is heavy and was loaded with them."""
    names = ", ".join(f"ml_lifecycle.{module}" for module in modules)
    code = f"import sys, {names}; print(*sys.modules)"
    return HEAVY & {*subprocess.check_output([sys.executable, "-c", code], text=True).split()}


def test_what_a_service_uses_loads_nothing_heavy() -> None:
    """Features, the model, its folder, keys and names of answers come without tables, training or tracking."""
    assert set() == loaded_by(*LIGHT)


@pytest.mark.parametrize(
    ("module", "heavy"), [("schemas", {"pandas", "pandera"}), ("export", {"onnx"}), ("registry.versions", {"mlflow"})]
)
def test_notices_what_is_heavy(module: str, heavy: set[str]) -> None:
    """Modules that do need it are found to load it."""
    assert heavy <= loaded_by(module)
