"""What a logger says, whatever handlers and propagation other code has set up."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def messages_of(name: str) -> Iterator[list[str]]:
    """Messages of a logger and those below it, as they come."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = logging.getLogger(name)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
