"""Where the registry is, for a process that Kedro has not told."""

import mlflow


def use(uri: str) -> None:
    """Speak to the registry at an address from now on."""
    mlflow.set_tracking_uri(uri)


def in_use() -> str:
    """The address of the registry."""
    return str(mlflow.get_registry_uri())
