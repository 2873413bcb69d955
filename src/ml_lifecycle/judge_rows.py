"""The rows on which two models are compared: neither has learned from them, and both score them now."""

from collections.abc import Mapping

import pandas as pd

from ml_lifecycle import features
from ml_lifecycle.errors import DataContractError
from ml_lifecycle.onnx_model import OnnxModel
from ml_lifecycle.provenance.record import Provenance, digest_of_labels


def select(model_input: pd.DataFrame, challenger: Provenance, incumbent: Provenance) -> pd.DataFrame:
    """Select the judge slice of the challenger, as far as the incumbent has not learned from it.

    Returns:
        Key, time and label of each row.

    Raises:
        DataContractError: the table holds other rows than the challenger was judged on, or it cannot be told which
            of them the incumbent has learned from.
    """
    judge = model_input.loc[model_input["row_split"] == "judge", ["row_key", "row_time", "row_target"]]
    found = digest_of_labels(judge)
    if challenger.judge_sha256 != found:
        raise DataContractError(
            f"the judge slice at hand is not the one the version was judged on (SHA-256 recorded "
            f"{challenger.judge_sha256}, at hand {found}): run data_engineering with its parameters"
        )
    if incumbent.judge_sha256 == found:
        return judge
    split = incumbent.data and incumbent.data.run.parameters.get("split", {})
    judged_from = (split or {}).get("judge_from")
    if judged_from is None or judge["row_time"].isna().any():
        raise DataContractError(
            "the incumbent was judged on other rows, and its split has no dates: it cannot be told which of the rows "
            "at hand it has learned from"
        )
    later = judge[judge["row_time"] >= pd.Timestamp(judged_from)]
    if later.empty:
        raise DataContractError(f"the incumbent has learned from all of them: it was judged from {judged_from} on")
    return later


def score(judge: pd.DataFrame, requests: pd.DataFrame, models: Mapping[str, OnnxModel]) -> pd.DataFrame:
    """Score rows with each model, through the same features as in serving.

    Args:
        judge: key, time and label of each row.
        requests: what was known of each row at the moment of prediction, among others.
        models: by the name of the column that its probabilities get.

    Returns:
        The rows with the columns of their requests, and a column of probabilities (float32) for each model.

    Raises:
        DataContractError: there is no request for a row or more than one, or no column for a feature, or the models
            do not answer the same requests.
    """
    described = _by_key(requests, sorted({model.roles.key for model in models.values()}))
    rows = judge.merge(described, on="row_key", how="left", validate="one_to_one", indicator="_found")
    if missing := int((rows.pop("_found") != "both").sum()):
        raise DataContractError(f"{missing} of {len(rows)} judge rows have no request: run data_engineering again")
    columns = {name: rows[name].to_numpy() for name in described.columns}
    return rows.assign(**{name: _probabilities(columns, model, name) for name, model in models.items()})


def _by_key(requests: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Name each request as its row is named."""
    if len(keys) > 1:
        raise DataContractError(f"the models name their rows by different columns: {', '.join(keys)}")
    if keys[0] not in requests:
        raise DataContractError(f"the requests have no column '{keys[0]}', which names their rows")
    named = requests.assign(row_key=requests[keys[0]].astype("str"))
    if repeated := int(named["row_key"].duplicated().sum()):
        raise DataContractError(f"{repeated} keys of the requests stand there more than once")
    return named


def _probabilities(columns: dict[str, features.Array], model: OnnxModel, name: str) -> features.Array:
    roles = model.roles
    try:
        computed = features.compute(roles.feature_set, columns, roles.numeric, roles.categorical)
    except KeyError as missing:
        raise DataContractError(f"the requests have no column {missing}, which the {name} needs") from None
    return model.predict(computed)
