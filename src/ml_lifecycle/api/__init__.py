"""Predictions over HTTP. Nothing happens at import; ``create_app(settings)`` makes the application."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ml_lifecycle.api.settings import Settings


def create_app(settings: "Settings | None" = None) -> "FastAPI":
    """Make the application; nothing is started before it is.

    Args:
        settings: those of the environment, if none are given.

    Raises:
        ConfigurationError: a setting is missing, or cannot be used.
    """
    from ml_lifecycle.api.app import Service

    return Service(settings).app
