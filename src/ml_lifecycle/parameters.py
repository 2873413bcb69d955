"""Typed parameters: one model per ``params:`` key, checked before any node runs.

A key that is unknown or misspelt is an error that lists the allowed ones.
"""

from datetime import date
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ml_lifecycle import features
from ml_lifecycle.moments import Moment, known_by, refuse_later

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Parameters(BaseModel):
    """A group of parameters that refuses unknown keys and prints as JSON, which is what MLflow logs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _name_allowed_keys(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        for key in sorted(set(map(str, values)) - set(cls.model_fields)):
            close = get_close_matches(key, cls.model_fields, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise ValueError(f"unknown key '{key}'.{hint} Allowed: {', '.join(sorted(cls.model_fields))}.")
        return values

    def __str__(self) -> str:
        return self.model_dump_json()


class FlightOptions(Parameters):
    """How flights become labelled requests."""

    delay_threshold_minutes: Positive
    lead_time_minutes: Positive
    weather_known_after_minutes: Annotated[int, Field(ge=0)]
    airport_time_zones: dict[str, str]


class FeatureOptions(Parameters):
    """Which features a model may use: all that are known at the moment, or the listed ones."""

    prediction_moment: Moment
    columns: Literal["all"] | list[str]

    @model_validator(mode="after")
    def _refuse_later_columns(self) -> Self:
        if self.columns != "all":
            refuse_later(self.columns, features.known_at(), self.prediction_moment)
        return self

    def names(self) -> list[str]:
        """Name the features in the order of their definition or of the list."""
        if self.columns != "all":
            return list(self.columns)
        return known_by(features.known_at(), self.prediction_moment)


class SplitOptions(Parameters):
    """How a table is divided: train on the first part, choose on the second, judge on the last.

    With dates, by time. Without, by the shares: the latest rows where there is a time column,
    otherwise drawn at random within each class.
    """

    choose_from: date | None = None
    judge_from: date | None = None
    choose_share: Share
    judge_share: Share

    @model_validator(mode="after")
    def _are_in_order(self) -> Self:
        if (self.choose_from is None) != (self.judge_from is None):
            raise ValueError("choose_from and judge_from go together: give both dates, or neither.")
        if self.choose_from and self.judge_from and self.choose_from >= self.judge_from:
            raise ValueError(f"choose_from ({self.choose_from}) must lie before judge_from ({self.judge_from}).")
        if self.choose_share + self.judge_share >= 1:
            raise ValueError("choose_share and judge_share leave nothing to train on: their sum must be below 1.")
        return self


class TableOptions(Parameters):
    """The roles of the columns of your own table; what is not declared is recognised."""

    target: str
    task: str
    positive_label: str | None = None
    key: str | None = None
    time: str | None = None
    numeric: list[str] = []
    categorical: list[str] = []
    ignore: list[str] = []
    max_categories: Positive

    @model_validator(mode="after")
    def _is_binary(self) -> Self:
        if self.task != "binary":
            raise ValueError(
                f"task '{self.task}' is not supported yet. Allowed: binary (two labels of any kind); "
                "multi-class targets and regression are refused until they have a gate of their own."
            )
        return self


class RandomForestOptions(Parameters):
    """scikit-learn's RandomForestClassifier."""

    n_estimators: Positive
    min_samples_leaf: Positive
    max_features: Literal["sqrt", "log2"] | Share
    max_depth: Positive | None = None
    n_jobs: int


class HistGradientBoostingOptions(Parameters):
    """scikit-learn's HistGradientBoostingClassifier, without early stopping."""

    max_iter: Positive
    learning_rate: Annotated[float, Field(gt=0)]
    min_samples_leaf: Positive
    max_leaf_nodes: Annotated[int, Field(gt=1)]
    l2_regularization: Annotated[float, Field(ge=0)]


class LogisticRegressionOptions(Parameters):
    """scikit-learn's LogisticRegression on scaled numbers and one-hot categories."""

    C: Annotated[float, Field(gt=0)]
    max_iter: Positive


Estimator = Literal["random_forest", "hist_gradient_boosting", "logistic_regression"]
EstimatorOptions = RandomForestOptions | HistGradientBoostingOptions | LogisticRegressionOptions


class ModelOptions(Parameters):
    """The estimator to fit, and the options of each one."""

    estimator: Estimator
    random_forest: RandomForestOptions
    hist_gradient_boosting: HistGradientBoostingOptions
    logistic_regression: LogisticRegressionOptions

    @property
    def chosen(self) -> EstimatorOptions:
        """The options of the estimator that is fitted."""
        options: EstimatorOptions = getattr(self, self.estimator)
        return options


class SearchOptions(Parameters):
    """A search for better options on the choose slice; 0 trials switch it off."""

    n_trials: Annotated[int, Field(ge=0)]
    metric: Literal["roc_auc", "average_precision", "log_loss", "brier"]


class EvaluationOptions(Parameters):
    """How the judge slice is reported."""

    bootstrap_samples: Annotated[int, Field(ge=50)]
    confidence: Share
    calibration_bins: Annotated[int, Field(ge=2)]
    slices: list[str]
    rates_by: list[str]
    importance_rows: Positive
    importance_repeats: Positive


class ExportOptions(Parameters):
    """What the ONNX model must fulfil before it may be registered."""

    tolerance: Annotated[float, Field(gt=0)]
    probe_rows: Positive


Compared = Literal["roc_auc", "average_precision", "log_loss", "brier"]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Margin = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class GateOptions(Parameters):
    """What a version must fulfil before it gets an alias.

    ``floors`` are the least a metric may be, ``ceilings`` the most; of the calibration gap its
    absolute value counts.
    """

    clean_tree: list[Literal["staging", "production"]]
    floors: dict[Literal["roc_auc", "average_precision"], Finite]
    ceilings: dict[Literal["log_loss", "brier", "calibration_gap"], Finite]
    baseline_metrics: Annotated[list[Compared], Field(min_length=1)]
    question: list[str]
    metric: Compared
    comparison: Literal["superiority", "non_inferiority"]
    minimum_gain: Margin
    confidence: Share
    bootstrap_samples: Annotated[int, Field(ge=50)]
    slices: list[str]
    slice_min_rows: Positive
    slice_max_loss: Margin
    max_latency_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    @property
    def needed_gain(self) -> float:
        """What the low end of the interval must exceed, in units of the metric."""
        return self.minimum_gain if self.comparison == "superiority" else -self.minimum_gain

    @property
    def error_share(self) -> float:
        """How often a version whose true gain is no more than the needed one passes the comparison."""
        return (1 - self.confidence) / 2

    @model_validator(mode="after")
    def _have_a_margin(self) -> Self:
        if self.comparison == "non_inferiority" and self.minimum_gain == 0:
            raise ValueError(
                "non_inferiority needs a minimum_gain above 0: by how much a version may be worse. "
                "With 0 it asks the same as superiority."
            )
        return self


#: What the first version of a model gets if the gate lets it, and whether a dirty tree is forgiven it.
FirstPolicy = Literal["any_tree", "clean_tree", "never"]


class RegistryOptions(Parameters):
    """``registry`` of globals.yml: the model, its aliases and their history."""

    model: str
    alias: str
    promote_first: FirstPolicy
    history: str
    development_keys: bool
