"""The model registry: the only package that speaks to MLflow's."""
