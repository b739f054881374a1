"""The package's version, importable without the host."""

__version__ = "0.1.0"
