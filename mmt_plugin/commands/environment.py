"""What has to be in the environment before torch is loaded: how many threads there are, and how they wait.

Threads of OpenMP spin at the end of every parallel loop, in case the next begins at once. Beside other work
they take the core from the thread they wait for: a step of a convolution net took 2,455 ms beside two busy
processes on two cores, and 1,077 ms with threads that sleep; alone 575 and 578 ms. So they sleep, unless the
user has said otherwise.
"""

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def prepare_threads(environment: MutableMapping[str, str], processes: int = 1) -> None:
    """Set what is not set.

    Args:
        environment: `os.environ`.
        processes: that share the cores.
    """
    if "OMP_WAIT_POLICY" not in environment and "GOMP_SPINCOUNT" not in environment:
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    # OpenMP knows of a process's cores, but not of a share of them.
    if (share := quota()) is not None and "OMP_NUM_THREADS" not in environment and share < affinity():
        environment["OMP_NUM_THREADS"] = str(max(1, math.ceil(share) // max(1, processes)))


def cores() -> int:
    """Cores that this process may keep busy."""
    share = quota()
    return affinity() if share is None else max(1, min(affinity(), math.ceil(share)))


def affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def quota(folder: Path = CGROUPS) -> float | None:
    """The cores that a container's control group allows, as Docker's --cpus sets it; None without a limit."""
    try:
        if (folder / "cpu.max").is_file():  # version 2
            limit, period = (folder / "cpu.max").read_text().split()
        else:
            limit, period = (
                (folder / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
            )
        return float(limit) / float(period) if float(limit) > 0 else None
    except (OSError, ValueError):  # no control groups, or "max"
        return None
