"""What a label step costs: the time of each stage, and the peak memory of the process."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None

GIB = 2**30


class Stages:
    """Wall time of named stages, and how far the process's peak memory rose.

    Attributes:
        seconds: wall time by stage, in the order in which they ran.
    """

    def __init__(self):
        self.seconds: dict[str, float] = {}
        _forget_peak()
        self._peak_before = peak_memory()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record the wall time of the block."""
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def __str__(self) -> str:
        """All stages and the peak, for a log line."""
        times = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self.seconds.items())
        return f"{times}; peak memory {peak_memory() / GIB:.2f} GiB (+{self.added_memory() / GIB:.2f})"

    def added_memory(self) -> int:
        """Bytes by which the peak rose."""
        return peak_memory() - self._peak_before


def peak_memory() -> int:
    """Largest resident size of this process in bytes, since `Stages` began where the system can tell, else
    ever; 0 on Windows, where Python cannot tell.
    """
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if resource is None:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, KiB elsewhere.
    return peak if sys.platform == "darwin" else peak * 1024


def _forget_peak() -> None:
    """Let Linux count the peak from here; other systems keep the peak of the whole run."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
