"""The columns of the prediction log, for whoever writes it and whoever reads it."""

from arro3.core import DataType, Field, Schema

TEXT, NUMBER, MOMENT = DataType.string(), DataType.float64(), DataType.timestamp("us", tz="UTC")

#: What the service writes, and what is read of any file.
SCHEMA = Schema(
    [
        Field("request_id", TEXT),
        Field("request_key", TEXT),
        Field("probability", NUMBER),
        Field("decision", TEXT),
        Field("model_name", TEXT),
        Field("model_version", TEXT),
        Field("model_digest", TEXT),
        Field("scored_at", MOMENT),
        Field("threshold", NUMBER),
        Field("protocol", TEXT),
        Field("correlation_id", TEXT),
        Field("inputs", TEXT),
    ]
)
