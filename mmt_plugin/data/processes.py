"""What processes that work on the same data do for each other."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger("fastreid.mmt.data")


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, which lies beside it; the operating system frees it when its holder dies."""
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("Waiting for another process that is writing %s", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
