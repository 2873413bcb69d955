"""Requests become predictions by the model behind an alias."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
