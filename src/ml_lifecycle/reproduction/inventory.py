"""What a run writes, and where: asked by the interpreter of its commit, in its worktree.

``python -P inventory.py FILE ENVIRONMENT PIPELINES OUTPUTS GIVEN`` writes it to FILE. It is run alone, because the
worktree has a code and resolvers of its own: it imports nothing of this project, runs no hook, reads no credentials.
"""

import json
import sys
from pathlib import Path
from typing import Any

from kedro.framework.startup import bootstrap_project
from kedro.io import CatalogConfigResolver
from kedro.pipeline import Pipeline

#: What Kedro's catalog takes for names it does not know.
IN_MEMORY = {"{default}": {"type": "kedro.io.MemoryDataset"}}


def without_credentials(entry: Any) -> Any:
    """Leave them out at every depth: only where a dataset lies is asked."""
    if isinstance(entry, dict):
        return {key: without_credentials(value) for key, value in entry.items() if key != "credentials"}
    return entry


def take(environment: str, names: list[str], outputs: list[str], given: list[str]) -> dict[str, Any]:
    """Take the inventory: the globals of an environment, and the catalog's entry of each dataset that is written.

    Args:
        environment: of Kedro.
        names: the pipelines that are run.
        outputs: what the run goes up to.
        given: what is written before it, for it to read.
    """
    tree = Path.cwd()
    bootstrap_project(tree)
    from kedro.framework.project import pipelines, settings

    conf, arguments = str(tree / settings.CONF_SOURCE), settings.CONFIG_LOADER_ARGS
    loader = settings.CONFIG_LOADER_CLASS(conf, env=environment, **arguments)
    run = sum((pipelines[name] for name in names), Pipeline([])).to_outputs(*outputs)
    catalog = CatalogConfigResolver(without_credentials(loader["catalog"]), default_runtime_patterns=IN_MEMORY)
    written = sorted({*run.all_outputs(), *given})
    return {
        "globals": loader["globals"],
        "written": {name: catalog.config.get(name) or catalog.resolve_pattern(name) for name in written},
    }


def main() -> None:
    """Take the inventory that the command line asks for."""
    file, environment, *lists = sys.argv[1:]
    found = take(environment, *([name for name in text.split(",") if name] for text in lists))
    Path(file).write_text(json.dumps(found, default=str), encoding="utf-8")


if __name__ == "__main__":
    main()
