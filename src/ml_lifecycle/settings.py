"""Settings of the Kedro project."""

from ml_lifecycle.hooks import OriginHook, SummaryHook, TrackingHook

HOOKS = (OriginHook(), TrackingHook(), SummaryHook())
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry",)
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # An environment says only what differs: keys it does not name keep their defaults.
    "merge_strategy": {"parameters": "soft", "globals": "soft", "mlflow": "soft"},
}
