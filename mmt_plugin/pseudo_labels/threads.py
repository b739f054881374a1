"""Compiled row work on all cores. Shapes: N rows.

The inner loops of this room are numba functions that release the interpreter's lock. Plain threads run them,
as many as torch uses (OMP_NUM_THREADS, torch.set_num_threads), so that neither a second OpenMP runtime nor a
threading layer of numba's comes into a process that forks loader workers.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from tqdm import tqdm


@contextmanager
def worker_threads() -> Iterator[ThreadPoolExecutor]:
    """As many threads as torch computes with; what is queued is dropped when the block fails."""
    pool = ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="pseudo-labels")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def over_rows(
    kernel: Callable, num_rows: int, *arguments: Any, description: str, rows_per_call: int = 2048
) -> list:
    """Call ``kernel(start, stop, *arguments)`` for consecutive ranges of rows, with a progress bar.

    Args:
        kernel: numba function compiled with ``nogil``; calls for different ranges must not write to the same
            place.
        num_rows: N.
        arguments: handed to every call.
        description: of the progress bar.
        rows_per_call: length of a range. It changes no result.

    Returns:
        What the calls returned, in the order of the rows.
    """
    starts = range(0, num_rows, rows_per_call)
    results = []
    with (
        worker_threads() as pool,
        tqdm(total=num_rows, desc=description, unit="image", disable=None) as bar,
    ):
        stops = [min(start + rows_per_call, num_rows) for start in starts]
        calls = [
            pool.submit(kernel, start, stop, *arguments) for start, stop in zip(starts, stops, strict=True)
        ]
        for start, stop, call in zip(starts, stops, calls, strict=True):
            results.append(call.result())
            bar.update(stop - start)
    return results
