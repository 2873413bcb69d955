"""The pipelines of this project, by name."""

from kedro.pipeline import Pipeline

from ml_lifecycle.pipelines import data_engineering, serving, training


def register_pipelines() -> dict[str, Pipeline]:
    """Return the three pipelines, their sum, and the same for a table of your own."""
    learn_and_answer = training.create_pipeline() + serving.create_pipeline()
    flights = data_engineering.create_pipeline()
    return {
        "data_engineering": flights,
        "training": training.create_pipeline(),
        "serving": serving.create_pipeline(),
        "tabular": data_engineering.create_table_pipeline() + learn_and_answer,
        "__default__": flights + learn_and_answer,
    }
