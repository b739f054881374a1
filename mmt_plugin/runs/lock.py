"""One run, one folder: OUTPUT_DIR belongs to the process that trains into it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from fastreid.utils import comm
from filelock import FileLock

from mmt_plugin.config import ConfigError
from mmt_plugin.system.files import remove_unfinished

try:
    import fcntl
except ImportError:  # no POSIX system
    fcntl = None

LOCK = ".lock"


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Hold a folder for this process; the operating system frees it when the process ends, however it ends.

    Loader workers do not inherit the claim, so a killed run can be restarted at once. Processes of one run
    share rank 0's claim.

    Raises:
        ConfigError: another run uses the folder, or nothing can be written there.
    """
    if not comm.is_main_process():
        yield
        return
    with _claim_file(folder) as file:
        try:
            held = _hold(file)  # noqa: F841  (until the block ends)
        except OSError as error:
            file.seek(0)
            raise ConfigError(
                f"OUTPUT_DIR {folder!r} is in use by another run (process {file.read() or 'unknown'}): "
                "wait for it, stop it, or choose another OUTPUT_DIR"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        remove_unfinished(folder)
        yield


def _claim_file(folder: str) -> IO:
    try:
        os.makedirs(folder, exist_ok=True)
        return open(os.path.join(folder, LOCK), "a+")
    except OSError as error:
        reason = "it is a file" if os.path.isfile(folder) else error.strerror
        raise ConfigError(f"OUTPUT_DIR is {folder!r}, where no run can be written: {reason}") from error


def _hold(file: IO) -> Any:
    """Lock an open file, or raise OSError at once. POSIX record locks, unlike those of filelock, are not
    inherited by forked loader workers; systems without them do not fork.
    """
    if fcntl is not None:
        return fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    lock = FileLock(f"{file.name}.held")
    lock.acquire(timeout=0)
    return lock
