"""What is answered: probability and decision of each row, and which model gave them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from ml_lifecycle.api.served_model import ServedModel

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Answer:
    """The answers to the rows of one request."""

    model: ServedModel
    request_ids: Sequence[str]
    probabilities: Sequence[float]
    decisions: Sequence[str]

    def one(self) -> bytes:
        """The answer to a single record, as JSON."""
        return b'{"request_id":"%b","probability":%b,"decision":%b,%b}' % (
            self.request_ids[0].encode(),
            repr(self.probabilities[0]).encode(),
            _as_json(self.decisions[0]),
            _model_part(self.model),
        )

    def many(self) -> bytes:
        """The answers to a list of records, as JSON."""
        rows = ",".join(
            [
                f'{{"request_id":"{request_id}","probability":{probability!r},"decision":{decision}}}'
                for request_id, probability, decision in zip(
                    self.request_ids,
                    self.probabilities,
                    map(_as_json_text, self.decisions),
                    strict=True,
                )
            ]
        )
        return b'{"predictions":[%b],%b}' % (rows.encode(), _model_part(self.model))

    def headers(self, *, single: bool = False) -> Headers:
        """The same facts, as headers."""
        facts = [*_model_headers(self.model), (b"x-prediction-id", self.request_ids[0].encode())]
        if single:
            facts.append((b"x-probability", repr(self.probabilities[0]).encode()))
            facts.append((b"x-decision", header_value(self.decisions[0])))
        return facts


@lru_cache(maxsize=64)
def _as_json(label: str) -> bytes:
    return msgspec.json.encode(label)


@lru_cache(maxsize=64)
def _as_json_text(label: str) -> str:
    return msgspec.json.encode(label).decode()


def header_value(text: str) -> bytes:
    """A text as a header can hold it: what is not printable ASCII stands as its number."""
    return text.encode("ascii", "backslashreplace").translate(None, bytes([*range(32), 127]))


@lru_cache(maxsize=4)
def _part_of(name: str, version: str, digest: str, threshold: float) -> bytes:
    return msgspec.json.encode({"threshold": threshold, "model": {"name": name, "version": version, "digest": digest}})[
        1:-1
    ]


def _model_part(served: ServedModel) -> bytes:
    return _part_of(served.name, served.version, served.model.digest, served.model.threshold)


@lru_cache(maxsize=4)
def _headers_of(name: str, version: str, digest: str, threshold: float) -> Headers:
    return [
        (b"x-model-name", header_value(name)),
        (b"x-model-version", header_value(version)),
        (b"x-model-digest", digest.encode()),
        (b"x-threshold", repr(threshold).encode()),
    ]


def _model_headers(served: ServedModel) -> Headers:
    return _headers_of(served.name, served.version, served.model.digest, served.model.threshold)
