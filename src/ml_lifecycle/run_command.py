"""A run as the command that repeats it, or goes on with it."""

import json
import shlex
from collections.abc import Iterable
from typing import Any

from omegaconf import OmegaConf

from ml_lifecycle.nested import flat


def write(run_params: dict[str, Any], from_nodes: list[str] | None = None) -> str:
    """Write a run as a command.

    Args:
        run_params: what Kedro tells its hooks about the run.
        from_nodes: nodes to start from, instead of those of the run.
    """
    parameters = flat(run_params["runtime_params"] or {})
    options = {
        "env": run_params["env"],
        "pipelines": _listed(run_params["pipeline_names"]),
        "params": ",".join(f"{key}={_written(value)}" for key, value in parameters.items()),
        "from-nodes": _listed(from_nodes or run_params["from_nodes"]),
        "to-nodes": _listed(run_params["to_nodes"]),
        "nodes": _listed(run_params["node_names"]),
        "from-inputs": _listed(run_params["from_inputs"]),
        "to-outputs": _listed(run_params["to_outputs"]),
        "namespaces": _listed(run_params["namespaces"]),
        "tags": _listed(run_params["tags"]),
    }
    words = [f"--{name} {shlex.quote(value)}" for name, value in options.items() if value]
    return " ".join(["kedro run", *words, *["--only-missing-outputs"] * bool(run_params["only_missing_outputs"])])


def _listed(names: Iterable[str] | None) -> str:
    return ",".join(names or [])


def _written(value: Any) -> str:
    """Write a parameter so that `--params` reads it back: plainly where it can, else quoted as YAML."""
    read = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]))
    return str(value) if read == {"value": value} else json.dumps(value)
