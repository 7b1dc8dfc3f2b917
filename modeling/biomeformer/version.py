"""The version, apart from the package's `__init__`, so that every module may import it."""

__version__ = "0.2.0"
