#!/opt/venv/bin/python
"""Compiles what a program loads, and only that: nobody can write bytecode later, where the file system is read-only.

``bytecode.py MODULE...`` imports the modules. What it writes depends on the sources alone, not on when or where.
"""

import importlib
import importlib.util
import py_compile
import sys
from pathlib import Path


def main() -> None:
    """Import, then compile every file that was loaded and is not compiled yet."""
    sys.dont_write_bytecode = True  # dated by the clock
    for name in sys.argv[1:]:
        importlib.import_module(name)
    files = {Path(module.__file__) for module in list(sys.modules.values()) if getattr(module, "__file__", None)}
    for file in sorted(files):
        if file.suffix == ".py" and not Path(importlib.util.cache_from_source(str(file))).exists():
            py_compile.compile(str(file), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


if __name__ == "__main__":
    main()
