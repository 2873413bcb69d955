"""What the columns of a table are for: all that training and serving know about a table."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator


class TableRoles(BaseModel):
    """Roles of columns.

    ``table`` names the raw table whose rows are learned from. ``feature_set`` names the entry of
    ``features.FEATURE_SETS`` that turns request columns into features. ``labels`` are the texts of
    the negative and the positive class. ``baselines`` names simpler models that must be beaten,
    with the features each may use.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str
    feature_set: str
    key: str
    time: str | None
    target: str
    labels: tuple[str, str]
    numeric: list[str]
    categorical: list[str]
    baselines: dict[str, list[str]]

    @property
    def columns(self) -> list[str]:
        """The features, in the order of the model's inputs."""
        return [*self.numeric, *self.categorical]

    @model_validator(mode="after")
    def _have_features(self) -> Self:
        if not self.columns:
            raise ValueError("no feature columns: declare or keep at least one numeric or categorical column.")
        if unknown := sorted({name for names in self.baselines.values() for name in names} - set(self.columns)):
            raise ValueError(f"baseline columns are not features: {', '.join(unknown)}.")
        return self


def validate(table_roles: dict[str, Any]) -> None:
    """Refuse roles that do not fit together; the catalog's validator of ``table_roles``."""
    TableRoles.model_validate(table_roles)
