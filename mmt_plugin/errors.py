"""What a user can put right: one base class, and its kinds."""


class UserError(Exception):
    """A mistake in a file, a key, a value or the data: the message names it and says what to do.

    Every tool prints it as ``error: <message>`` and exits with status 2; ``--debug`` shows where it was
    noticed. Subclasses name the kind, and keep the built-in class that a caller may expect.
    """


class DataError(UserError, ValueError):
    """Images, batches or features that cannot be used; the message says what to change."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that is not there; the message says how to name another."""


class UnknownNameError(UserError, KeyError):
    """A name that nothing is registered under; the message holds the names that there are."""

    # A KeyError shows its message quoted, as if it were a key.
    __str__ = Exception.__str__


class UsageError(UserError, ValueError):
    """A command line that cannot be meant: options that are missing, or that do not go together."""


class ConfigError(UserError, ValueError):
    """A configuration that cannot work; the message names the keys and what to change."""
