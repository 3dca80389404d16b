"""The version, which has no need to import what it is the version of."""

__version__ = "0.2.0"
