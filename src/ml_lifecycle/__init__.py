"""A reproducible, auditable machine learning lifecycle."""

from ml_lifecycle import defaults
from ml_lifecycle.quiet import be_quiet

__version__ = "0.1.0"

defaults.apply()
be_quiet()
