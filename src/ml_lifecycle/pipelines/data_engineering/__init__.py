"""Raw tables become a table to learn from and the requests to score."""

from .pipeline import create_pipeline, create_table_pipeline

__all__ = ["create_pipeline", "create_table_pipeline"]
