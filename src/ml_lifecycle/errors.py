"""Errors whose message is written for the person who reads it.

They derive from click's exception, so that every command line prints the message in one
line, without a traceback, and exits with 1.
"""

import click


class LifecycleError(click.ClickException):
    """Something this project refuses: what was wrong, what was got, what is allowed, what to do."""


class ConfigurationError(LifecycleError):
    """A parameter or a setting that cannot be used."""


class DataContractError(LifecycleError):
    """Data that break their contract."""


class RawInputError(LifecycleError):
    """A raw input that is missing or is not what DVC recorded."""


class ProvenanceError(LifecycleError):
    """Something a model is made of could not be determined."""


class RegistryError(LifecycleError):
    """The model registry does not hold what was asked for."""


class ServerError(LifecycleError):
    """The object store or the tracking server does not do its part."""


class HoldError(LifecycleError):
    """Another run holds the store, or has written there in between."""


class ReproductionError(LifecycleError):
    """A version that cannot be made again here."""
