"""The log of predictions: every answer of every run is found again by its id, and only that one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from kedro.io import AbstractDataset, DataCatalog

from dvc_consistency import catalog_of
from ml_lifecycle import prediction_columns, prediction_log, request_id, schemas
from ml_lifecycle.pipelines.serving.nodes import log_predictions
from ml_lifecycle.prediction_log import Prediction, PredictionLogError, RequestIdError

DIGEST = "ab" * 32
MORNING, EVENING, NEXT_DAY = "2013-12-01 08:00:05", "2013-12-01 20:00", "2013-12-02 08:00:05"
KEYS = {"store": "key", "secret": "secret", "client_kwargs": {"endpoint_url": "http://127.0.0.1:9"}}


def answers(scored_at: str, first: int = 0, rows: int = 3) -> pd.DataFrame:
    """The answers of a run: the same flights and probabilities at any time."""
    time, flights = pd.Timestamp(scored_at, tz="UTC").as_unit("us"), [f"flight {first + n}" for n in range(rows)]
    table = pd.DataFrame(
        {
            "request_id": pd.array(request_id.of_rows(DIGEST, time, flights), dtype="str"),
            "request_key": pd.array(flights, dtype="str"),
            "probability": (np.arange(first, first + rows) / 10).astype(np.float32),
            "decision": "on time",
            "model_name": "flight_delay",
            "model_version": "1",
            "model_digest": DIGEST,
            "scored_at": time,
        }
    )
    return schemas.Predictions.validate(table)


def dataset(path: str, environment: str = "base") -> AbstractDataset[Any, Any]:
    """The log as the catalog of an environment declares it, but in another place."""
    entry = catalog_of(environment)["prediction_log"] | {"path": path}
    return DataCatalog.from_config({"prediction_log": entry}, credentials={"object_store": KEYS})["prediction_log"]


def log(path: Path | str, *runs: pd.DataFrame) -> None:
    """Write the answers of runs, one run after the other."""
    for rows in runs:
        dataset(str(path)).save(log_predictions(rows))


def find(path: Path | str, name: str) -> Prediction | None:
    """Look into a log that needs no options."""
    return prediction_log.find(str(path), name)


def expected(row: pd.Series) -> Prediction:
    """The prediction that a row of the predictions is."""
    return Prediction(**row.to_dict())


@pytest.fixture
def runs() -> list[pd.DataFrame]:
    """The answers of three runs: two on one day, one at the same time on another day."""
    return [answers(MORNING), answers(EVENING), answers(NEXT_DAY)]


@pytest.fixture
def day(tmp_path: Path, runs: list[pd.DataFrame]) -> Path:
    """The folder with the answers of the first day, in a log of all three runs."""
    log(tmp_path, *runs)
    return tmp_path / "date=2013-12-01"


def test_a_prediction_has_every_column_of_the_contract() -> None:
    """What is read back is what the contract has, and then what only a service logs."""
    columns = list(schemas.Predictions.to_schema().columns)
    of_services = ["threshold", "protocol", "correlation_id", "inputs"]
    assert [*columns, *of_services] == list(Prediction.model_fields) == prediction_columns.SCHEMA.names


@pytest.mark.parametrize("place", ["{folder}", "{folder}/", "file://{folder}", "memory://{folder}"])
def test_every_answer_is_found(tmp_path: Path, runs: list[pd.DataFrame], place: str) -> None:
    """Each row of each run is found by its id, as it was given, to the last bit of the probability."""
    url = place.format(folder=tmp_path)
    log(url, *runs)
    for rows in runs:
        assert [expected(row) for _, row in rows.iterrows()] == [find(url, name) for name in rows["request_id"]]


def test_a_run_removes_nothing(day: Path, runs: list[pd.DataFrame]) -> None:
    """A further run adds its file; those of earlier runs are what they were."""
    before = {file: file.read_bytes() for file in day.parent.rglob("*.parquet")}
    log(day.parent, answers("2013-12-01 23:59:59"))
    after = {file: file.read_bytes() for file in day.parent.rglob("*.parquet")}
    assert (3, 4) == (len(before), len(after))
    assert before == {file: after[file] for file in before}


def test_two_runs_within_a_second_are_both_kept(tmp_path: Path) -> None:
    """One model that answers two sets of requests at the same time: neither takes the place of the other."""
    first, second = answers(MORNING), answers(MORNING, first=3)
    log(tmp_path, first, second)
    names = [*first["request_id"], *second["request_id"]]
    assert [f"flight {number}" for number in range(6)] == [find(tmp_path, name).request_key for name in names]


@pytest.mark.parametrize("again", [lambda rows: rows, lambda rows: rows.iloc[::-1]], ids=["as it was", "turned round"])
def test_the_same_answer_twice_is_one(
    tmp_path: Path, runs: list[pd.DataFrame], again: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    """Answers that were logged again, after a fault, are found as if they were there once."""
    log(tmp_path, runs[0], again(runs[0]))
    assert expected(runs[0].iloc[1]) == find(tmp_path, runs[0].loc[1, "request_id"])


def test_two_answers_with_one_id_are_refused(tmp_path: Path, runs: list[pd.DataFrame]) -> None:
    """If an id does not name one answer, none is made up."""
    log(tmp_path, runs[0], runs[0].assign(probability=np.float32(0.5)))
    with pytest.raises(PredictionLogError, match=r"date=2013-12-01 holds 2 different answers with the id 20131201-"):
        find(tmp_path, runs[0].loc[1, "request_id"])


def test_nothing_is_found_where_nothing_is(day: Path, tmp_path: Path, runs: list[pd.DataFrame]) -> None:
    """No log, no such day, no such answer: None."""
    (name,) = request_id.of_rows(DIGEST, pd.Timestamp(MORNING, tz="UTC"), ["a flight that nobody asked about"])
    assert find(day.parent, runs[0].loc[0, "request_id"]) is not None
    assert find(day.parent, name) is None
    assert find(day.parent, "20131205-" + "0" * 32) is None
    assert find(tmp_path / "elsewhere", name) is None


@pytest.mark.parametrize("text", ["", "flight 1", "20131201", "20131301-" + "0" * 32, "20131201-" + "0" * 32 + "\n"])
def test_a_text_that_is_no_id_is_refused(day: Path, text: str) -> None:
    """The error shows what was got, and what an id looks like; the id that it shows is one."""
    with pytest.raises(RequestIdError) as raised:
        find(day.parent, text)
    assert raised.value.message.startswith(f"{text!r} is no request id. One looks like 20131201-0123456789abcdef")
    assert request_id.is_well_formed(raised.value.message.split("looks like ")[1].partition(":")[0])


def test_only_the_day_is_read(day: Path, runs: list[pd.DataFrame]) -> None:
    """Files of other days, however they are, do not matter."""
    (day.parent / "date=2013-12-02/broken.parquet").write_bytes(b"PAR1")
    (day.parent / "broken.parquet").write_bytes(b"PAR1")
    assert expected(runs[1].iloc[0]) == find(day.parent, runs[1].loc[0, "request_id"])


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not a table, but long enough to be one"])
def test_a_file_that_cannot_be_read_is_named(day: Path, runs: list[pd.DataFrame], content: bytes) -> None:
    """The answer might be in it: the file is named, with what to do."""
    (day / "broken.parquet").write_bytes(content)
    with pytest.raises(PredictionLogError, match=r"cannot be read: .*date=2013-12-01/broken\.parquet.* move it away"):
        find(day.parent, runs[0].loc[0, "request_id"])


class TestFilesOfOthers:
    """A service that answers one request at a time adds its own files to the same folders."""

    @pytest.fixture
    def served(self) -> pd.DataFrame:
        """Answers as such a service might log them: more columns, in another order, of other types, without keys."""
        rows = answers(MORNING, first=7).drop(columns="request_key")
        return rows.assign(
            probability=rows["probability"].astype("float64") / 3,
            decision=rows["decision"].astype("category"),
            scored_at=rows["scored_at"].dt.as_unit("ms"),
            milliseconds=1.5,
            inputs='{"hour": 7}',
        )[["inputs", *reversed(rows.columns), "milliseconds"]]

    def test_are_read(self, day: Path, served: pd.DataFrame, runs: list[pd.DataFrame]) -> None:
        """Both kinds of answers are found; a key that a request had not is None."""
        (day / "http").mkdir()
        served.to_parquet(day / "http/1.parquet")
        row = served.drop(columns=["milliseconds"]).iloc[1]
        found = find(day.parent, row["request_id"])
        assert Prediction(**row.to_dict(), request_key=None) == found
        assert ('{"hour": 7}', None, None, None) == (
            found.inputs,
            found.threshold,
            found.protocol,
            found.correlation_id,
        )
        assert expected(runs[0].iloc[1]) == find(day.parent, runs[0].loc[1, "request_id"])

    def test_may_hold_other_columns_only(self, day: Path, runs: list[pd.DataFrame]) -> None:
        """A table without ids has no answer in it."""
        pd.DataFrame({"colour": ["red"]}).to_parquet(day / "a.parquet")
        assert expected(runs[0].iloc[1]) == find(day.parent, runs[0].loc[1, "request_id"])

    @pytest.mark.parametrize("name", ["notes.json", "1.parquet.tmp", "parquet"])
    def test_of_another_kind_are_left_alone(self, day: Path, runs: list[pd.DataFrame], name: str) -> None:
        """What does not end in .parquet is not read."""
        (day / name).write_bytes(b"{}")
        assert expected(runs[0].iloc[1]) == find(day.parent, runs[0].loc[1, "request_id"])

    def test_are_seen_at_once(self, tmp_path: Path, runs: list[pd.DataFrame], monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that another process has added is read, though file systems remember what they have listed."""
        url, listed, find_files = f"memory://{tmp_path}", {}, MemoryFileSystem.find
        monkeypatch.setattr(
            MemoryFileSystem, "find", lambda self, path: listed.setdefault(path, find_files(self, path))
        )
        monkeypatch.setattr(MemoryFileSystem, "invalidate_cache", lambda self, path: listed.pop(path, None))
        assert find(url, runs[1].loc[0, "request_id"]) is None
        with MemoryFileSystem().open(f"{tmp_path}/date=2013-12-01/http.parquet", "wb") as file:
            runs[1].to_parquet(file)
        assert expected(runs[1].iloc[0]) == find(url, runs[1].loc[0, "request_id"])


def test_options_open_the_address(day: Path, runs: list[pd.DataFrame]) -> None:
    """The options go to the file system: this one is a folder that only they name."""
    options = {"path": str(day.parent), "target_protocol": "file"}
    name = runs[2].loc[2, "request_id"]
    assert expected(runs[2].iloc[2]) == prediction_log.find("dir://", name, options)


class TestCatalog:
    """What the environments declare."""

    @pytest.mark.parametrize(
        ("environment", "path"),
        [
            ("base", "data/07_model_output/prediction_log"),
            ("test", "build/test/07_model_output/prediction_log"),
            ("tabular", "data/tabular/07_model_output/prediction_log"),
            ("minio", "s3://ml-data/07_model_output/prediction_log"),
        ],
    )
    def test_lies_with_the_output_of_the_model(self, environment: str, path: str) -> None:
        """The log lies beside the predictions, and no run empties it."""
        entry = catalog_of(environment)["prediction_log"]
        assert (path, None) == (entry["path"], entry.get("overwrite"))

    @pytest.mark.parametrize(("environment", "keys"), [("base", {}), ("minio", KEYS)])
    def test_opens_folder_and_files_with_the_same_keys(self, environment: str, keys: dict[str, Any]) -> None:
        """The keys of the store are for the listing and for each file; without a store there are none."""
        made = dataset("s3://ml-data/prediction_log" if keys else "prediction_log", environment)
        assert (keys, keys) == (made._credentials, made._dataset_config.get("credentials", {}))

    @pytest.mark.parametrize("place", ["{folder}", "memory://{folder}"])
    def test_reads_what_it_wrote(self, tmp_path: Path, runs: list[pd.DataFrame], place: str) -> None:
        """Every run comes back as it was written, wherever it lies: the folder's date is no column."""
        url = place.format(folder=tmp_path)
        log(url, *runs)
        back = [load() for _, load in sorted(dataset(url).load().items())]
        assert len(runs) == len(back)
        for rows, read in zip(runs, back, strict=True):
            pd.testing.assert_frame_equal(rows, read)

    def test_an_emptying_catalog_is_noticed(self, tmp_path: Path, runs: list[pd.DataFrame]) -> None:
        """With `overwrite`, which the catalog does not have, the answers of earlier runs are gone."""
        entry = catalog_of("base")["prediction_log"] | {"path": str(tmp_path), "overwrite": True}
        for rows in runs[:2]:
            DataCatalog.from_config({"prediction_log": entry})["prediction_log"].save(log_predictions(rows))
        assert find(tmp_path, runs[0].loc[0, "request_id"]) is None
