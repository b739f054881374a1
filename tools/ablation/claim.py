"""A job's folder belongs to one process at a time, however the harness that started it ended."""

import fcntl
from pathlib import Path
from typing import IO

# Held by the job's process, which inherits it; the system lets go of it when the last one that has it ends.
CLAIM = ".job.lock"


def claim(folder: Path) -> IO | None:
    """Take a folder for a job that is about to be started.

    Returns:
        An open file that the job's process has to inherit; None where a process is at work there already,
        which another harness, or one that has ended, has started.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = open(folder / CLAIM, "a")  # noqa: SIM115  (the process keeps it)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
