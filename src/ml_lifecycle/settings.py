"""Settings of the Kedro project."""

from pathlib import Path

from kedro.utils import find_kedro_project

from ml_lifecycle.hooks import OriginHook, ServersHook, SummaryHook, TrackingHook


def in_project(path: str) -> str:
    """Resolve ``${in_project:path}``: a path in the project, from whichever folder a command is started."""
    return str((find_kedro_project(Path.cwd()) or Path.cwd()) / path)


#: Of hooks that want to be first, the last one here is: servers before raw inputs.
HOOKS = (OriginHook(), TrackingHook(), SummaryHook(), ServersHook())
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry",)
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": ["mlflow*", "mlflow*/**", "**/mlflow*"]},  # as kedro-mlflow does, but before hooks
    "custom_resolvers": {"in_project": in_project},
    # An environment says only what differs: keys it does not name keep their defaults.
    "merge_strategy": {"parameters": "soft", "globals": "soft", "mlflow": "soft"},
}
