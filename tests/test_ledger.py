"""Which run wrote each dataset of a shared store last."""

import json
from pathlib import Path

import pytest

from ml_lifecycle.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Return an empty ledger."""
    return Ledger(f"file://{tmp_path}/ledger.json")


def test_is_empty_before_anything_is_written(ledger: Ledger) -> None:
    """A store without a ledger knows of no run."""
    assert ({}, {}) == (ledger.read(), ledger.of_others(["model"], "a"))


def test_keeps_the_last_run_of_each_dataset(ledger: Ledger, tmp_path: Path) -> None:
    """A later run replaces an earlier one, dataset by dataset; the file is plain JSON."""
    for dataset, run in (("table", "a"), ("model", "a"), ("model", "b")):
        ledger.note(dataset, run)
    assert {"table": "a", "model": "b"} == ledger.read()
    assert ledger.read() == json.loads((tmp_path / "ledger.json").read_text(encoding="utf-8"))


def test_names_what_others_wrote(ledger: Ledger) -> None:
    """Of the datasets asked for, those of other runs; what nobody wrote, as raw data, is nobody's."""
    for dataset, run in (("table", "a"), ("model", "b"), ("predictions", "c")):
        ledger.note(dataset, run)
    assert {"model": "b"} == ledger.of_others(["model", "table", "raw"], "a")


@pytest.mark.filterwarnings("default")  # of third parties, as they are imported
def test_no_old_list_of_files_is_trusted() -> None:
    """On an object store, no list of files is kept that another machine's writing would make wrong."""
    options = {"key": "a", "secret": "b", "client_kwargs": {"endpoint_url": "http://127.0.0.1:9"}}
    assert not Ledger("s3://bucket/ledger.json", options)._fs.dircache.use_listings_cache
