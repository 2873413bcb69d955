"""Where MLflow, DVC and the terminal meet a Kedro run."""

from ml_lifecycle.hooks.origin import OriginHook
from ml_lifecycle.hooks.servers import ServersHook
from ml_lifecycle.hooks.summary import SummaryHook
from ml_lifecycle.hooks.tracking import TrackingHook

__all__ = ["OriginHook", "ServersHook", "SummaryHook", "TrackingHook"]
