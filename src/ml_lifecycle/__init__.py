"""A reproducible, auditable machine learning lifecycle."""

from importlib.metadata import version

from ml_lifecycle.quiet import be_quiet

__version__ = version("ml-lifecycle")

be_quiet()
