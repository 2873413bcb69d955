#!/opt/venv/bin/python
"""Compiles what a program loads, and only that: nobody can write bytecode later, where the file system is read-only.

``bytecode.py MODULE...`` imports the modules. What it writes depends on the sources alone, not on when or where. ROOT
is a folder that becomes the root of an image: then it compiles what lies there, or has a copy there.
"""

import importlib
import importlib.util
import os
import py_compile
import sys
from pathlib import Path


def main() -> None:
    """Import, then compile every file that was loaded and is not compiled yet."""
    sys.dont_write_bytecode = True  # dated by the clock
    root = Path(os.environ.get("ROOT", "/"))
    for name in sys.argv[1:]:
        importlib.import_module(name)
    files = {Path(module.__file__) for module in list(sys.modules.values()) if getattr(module, "__file__", None)}
    for file in sorted(file for file in files if file.suffix == ".py"):
        placed = file if file.is_relative_to(root) else root / file.relative_to("/")
        if placed.exists() and not Path(importlib.util.cache_from_source(str(placed))).exists():
            later = str(Path("/") / placed.relative_to(root))
            unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
            py_compile.compile(str(placed), dfile=later, doraise=True, invalidation_mode=unchecked)


if __name__ == "__main__":
    main()
