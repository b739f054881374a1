"""The one base class of what a user can put right."""


class UserError(Exception):
    """A mistake in a file, a key, a value or the data: the message names it and says what to do.

    Every tool prints it as ``error: <message>`` and exits with status 2; ``--debug`` shows where it was
    noticed. Subclasses name the kind, and keep the built-in class that a caller may expect.
    """
