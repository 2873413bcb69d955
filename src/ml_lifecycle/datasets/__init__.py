"""Datasets of the catalog that Kedro does not bring."""
