"""Nodes of batch scoring."""

import numpy as np
import pandas as pd

from ml_lifecycle import features
from ml_lifecycle.errors import DataContractError
from ml_lifecycle.model_version import ModelVersion
from ml_lifecycle.provenance.record import RunRecord


def score(requests: pd.DataFrame, registered_model: ModelVersion, run_record: RunRecord) -> pd.DataFrame:
    """Score every request with the registered model, through the same features as in training.

    Returns:
        One row per request: key, probability, decision, and which model answered when.

    Raises:
        DataContractError: the requests lack a column that the model's features need.
    """
    model, roles = registered_model.model, registered_model.model.roles
    columns = {name: requests[name].to_numpy() for name in requests.columns}
    try:
        computed = features.compute(roles.feature_set, columns, roles.numeric, roles.categorical)
        keys = requests[roles.key].astype(str)
    except KeyError as missing:
        raise DataContractError(
            f"The requests have no column {missing}, which version {registered_model.version} of "
            f"'{registered_model.name}' needs. They have: {', '.join(requests.columns)}."
        ) from None
    probability = model.predict(computed)
    negative, positive = roles.labels
    return pd.DataFrame(
        {
            "request_key": keys.astype("str"),
            "probability": probability,
            "decision": pd.Series(np.where(probability >= model.threshold, positive, negative), dtype="str"),
            "model_name": registered_model.name,
            "model_version": registered_model.version,
            "model_digest": model.digest,
            "scored_at": pd.Timestamp(run_record.started_at).as_unit("us"),
        }
    )
