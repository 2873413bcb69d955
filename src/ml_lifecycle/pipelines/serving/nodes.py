"""Nodes of batch scoring."""

import hashlib

import numpy as np
import pandas as pd

from ml_lifecycle import features, request_id
from ml_lifecycle.errors import DataContractError
from ml_lifecycle.model_version import ModelVersion
from ml_lifecycle.provenance.record import RunRecord


def _refuse_unclear(keys: pd.Series) -> None:
    """Refuse keys that do not tell one request from another: an answer is named after its key."""
    missing, repeated = int(keys.isna().sum()), int(keys.dropna().duplicated().sum())
    if missing or repeated:
        raise DataContractError(
            f"Each request needs a key of its own in the column '{keys.name}'. Of {len(keys)} requests, {missing} have "
            f"none and {repeated} have one that came before. Nothing was scored."
        )


def score(requests: pd.DataFrame, registered_model: ModelVersion, run_record: RunRecord) -> pd.DataFrame:
    """Score every request with the registered model, through the same features as in training.

    Returns:
        One row per request: id of the answer, key, probability, decision, and which model answered when.

    Raises:
        DataContractError: the requests lack a column that the model's features need, or keys of their own.
    """
    model, roles = registered_model.model, registered_model.model.roles
    columns = {name: requests[name].to_numpy() for name in requests.columns}
    try:
        computed = features.compute(roles.feature_set, columns, roles.numeric, roles.categorical)
        keys = requests[roles.key].astype("str")
    except KeyError as missing:
        raise DataContractError(
            f"The requests have no column {missing}, which version {registered_model.version} of "
            f"'{registered_model.name}' needs. They have: {', '.join(requests.columns)}."
        ) from None
    _refuse_unclear(keys)
    scored_at = pd.Timestamp(run_record.started_at).as_unit("us")
    probability = model.predict(computed)
    negative, positive = roles.labels
    return pd.DataFrame(
        {
            "request_id": pd.array(request_id.of_rows(model.digest, scored_at, keys), dtype="str"),
            "request_key": keys,
            "probability": probability,
            "decision": pd.Series(np.where(probability >= model.threshold, positive, negative), dtype="str"),
            "model_name": registered_model.name,
            "model_version": registered_model.version,
            "model_digest": model.digest,
            "scored_at": scored_at,
        }
    )


def _partition(rows: pd.DataFrame) -> str:
    content = hashlib.sha256(pd.util.hash_pandas_object(rows, index=False).to_numpy().tobytes()).hexdigest()
    scored_at, model_digest = rows.iloc[0][["scored_at", "model_digest"]]
    return f"{request_id.folder_of(scored_at.date())}/{scored_at:%H%M%S}-{model_digest[:12]}-{content[:12]}"


def log_predictions(predictions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Name the predictions of a run so that the log keeps them beside those of all other runs.

    Returns:
        The rows under day, time, model and a digest of the rows. Two runs have the same name only if every row of
        theirs is the same, so that none can take the other's place. No rows have no name.
    """
    runs = predictions.groupby(["scored_at", "model_digest"])
    return {_partition(rows): rows for _, rows in runs}
