"""The three pipelines: each a folder with its wiring in ``pipeline.py`` and its nodes beside it."""
