"""A reproducible, auditable machine learning lifecycle."""

from importlib.metadata import version

from ml_lifecycle import defaults
from ml_lifecycle.quiet import be_quiet

__version__ = version("ml-lifecycle")

defaults.apply()
be_quiet()
