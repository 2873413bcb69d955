"""A table to learn from becomes an evaluated, described and registered model."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
