"""Time and memory of a piece of work, each in a process of its own. Shapes: B rows of a block, D feature
size.
"""

import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmt_plugin.pseudo_labels.timing import GIB, Stages, peak_memory


@dataclass(frozen=True)
class Measurement:
    """Attributes:
    seconds: wall time by stage; "total" is the whole.
    added_gib: how far peak memory rose above what was resident before, in GiB.
    peak_gib: peak resident memory of the process, in GiB.
    result: what the work returned.
    """

    seconds: dict[str, float]
    added_gib: float
    peak_gib: float
    result: Any


def in_fresh_process(prepare: Callable[..., Any], work: Callable[..., Any], *arguments: Any) -> Measurement:
    """Run ``work(prepare(*arguments), stages)`` in a new process and measure the work alone.

    Args:
        prepare: makes the input and warms up what is compiled; not measured.
        work: takes the input and a `Stages`, in which it may record stages of its own.
        arguments: for `prepare`.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_measured, prepare, work, arguments).result()


def _measured(prepare: Callable, work: Callable, arguments: tuple) -> Measurement:
    prepared = prepare(*arguments)
    stages = Stages()
    start = time.perf_counter()
    result = work(prepared, stages)
    stages.seconds["total"] = time.perf_counter() - start
    return Measurement(stages.seconds, stages.added_memory() / GIB, peak_memory() / GIB, result)


def machine() -> str:
    """What the figures were measured on, in one line."""
    names = [
        line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")
    ]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    cpu = names[0] if names else platform.machine()
    return (
        f"{cpu}, {os.cpu_count()} cores, {torch.get_num_threads()} threads; GPU: {gpu}; "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )


def _lines(path: str) -> list[str]:
    """Of a file that other systems may lack."""
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def seconds(action: Callable[[], object], device: str) -> float:
    """Wall time of one call in seconds, the device's work included."""
    synchronise = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    synchronise()
    start = time.perf_counter()
    action()
    synchronise()
    return time.perf_counter() - start


def matmul_rate(dtype: torch.dtype, size: int, block: int = 2048, trials: int = 5) -> float:
    """This machine's rate of the products that a neighbour search needs, in FLOP/s: the best of some trials.

    Args:
        dtype: of the factors.
        size: D.
        block: B; a trial multiplies B x D by D x B.
        trials: how often.
    """
    left = torch.ones(block, size, dtype=dtype)
    out = torch.empty(block, block, dtype=dtype)
    seconds = []
    for _ in range(trials + 1):
        start = time.perf_counter()
        torch.mm(left, left.T, out=out)
        seconds.append(time.perf_counter() - start)
    return 2 * block * block * size / min(seconds)
