"""Which run wrote each dataset of a shared store last, so that a run that goes on mixes nothing."""

import json
from collections.abc import Iterable
from typing import Any

import fsspec


class Ledger:
    """A file in the store: for each dataset the run that wrote it last, noted before it writes."""

    def __init__(self, url: str, options: dict[str, Any] | None = None) -> None:
        """Take an address that fsspec knows, and how to open it."""
        self._fs, self._path = fsspec.core.url_to_fs(url, use_listings_cache=False, **(options or {}))

    def read(self) -> dict[str, str]:
        """Map datasets to runs; empty if nothing was written yet."""
        try:
            return dict(json.loads(self._fs.cat_file(self._path)))
        except FileNotFoundError:
            return {}

    def note(self, dataset: str, run: str) -> None:
        """Write down that a run is about to write a dataset. Whoever calls holds the store."""
        written = self.read()
        if written.get(dataset) != run:
            self._fs.pipe_file(self._path, json.dumps({**written, dataset: run}, indent=2).encode())

    def of_others(self, datasets: Iterable[str], run: str) -> dict[str, str]:
        """Map those of the datasets that another run wrote last to that run."""
        written = self.read()
        return {name: written[name] for name in sorted(datasets) if written.get(name, run) != run}
