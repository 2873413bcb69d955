"""The raw tables are those of the package, and the sample is always the same."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from ml_lifecycle import raw_data


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the tables."""
    folder = tmp_path_factory.mktemp("raw") / "new"
    raw_data.copy(folder)
    return folder


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw the sample."""
    folder = tmp_path_factory.mktemp("raw") / "sample"
    raw_data.sample(folder)
    return folder


@pytest.mark.parametrize("table", raw_data.TABLES)
def test_copies_are_exact(copied: Path, table: str) -> None:
    """Each table is copied byte for byte."""
    assert (raw_data.source() / table).read_bytes() == (copied / table).read_bytes()


def test_only_the_tables_are_copied(copied: Path) -> None:
    """Nothing else lies in the folder."""
    assert set(raw_data.TABLES) == {file.name for file in copied.iterdir()}


def test_sample_is_always_the_same(sampled: Path, tmp_path: Path) -> None:
    """Two samples have the same bytes, archive included."""
    raw_data.sample(tmp_path)
    assert (sampled / raw_data.FLIGHTS).read_bytes() == (tmp_path / raw_data.FLIGHTS).read_bytes()


def test_sample_holds_original_rows(copied: Path, sampled: Path) -> None:
    """The sample is every second flight of every fifth day, with no value changed."""
    every, few = (
        pd.read_csv(folder / raw_data.FLIGHTS, dtype=str, keep_default_na=False) for folder in (copied, sampled)
    )
    expected = every[every["day"].isin(["5", "10", "15", "20", "25", "30"])].iloc[::2]
    assert expected.to_csv(index=False) == few.to_csv(index=False)


@pytest.mark.parametrize("table", [table for table in raw_data.TABLES if table != raw_data.FLIGHTS])
def test_sample_keeps_the_small_tables(copied: Path, sampled: Path, table: str) -> None:
    """All tables but the flights are whole in the sample."""
    assert (copied / table).read_bytes() == (sampled / table).read_bytes()


@pytest.mark.parametrize(("option", "smaller"), [([], False), (["--sample"], True)])
def test_command(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: list[str], smaller: bool
) -> None:
    """The command copies into the folder, or samples on request."""
    monkeypatch.setattr(sys, "argv", ["raw_data", *option, str(tmp_path)])
    raw_data.main()
    sizes = [(folder / raw_data.FLIGHTS).stat().st_size for folder in (tmp_path, copied)]
    assert smaller == (sizes[0] < sizes[1])


def test_command_asks_for_a_folder() -> None:
    """Without a folder the command says what it needs and ends with 2."""
    command = [sys.executable, "-m", "ml_lifecycle.raw_data"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (result.returncode, "required: folder" in result.stderr) == (2, True)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error says how to install it."""
    monkeypatch.setattr(raw_data, "PACKAGE", "not_installed")
    with pytest.raises(SystemExit, match=r"not_installed is not installed\. Run `make env`"):
        raw_data.source()
