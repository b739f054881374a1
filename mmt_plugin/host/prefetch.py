"""Draw batches in a thread and copy them to the device ahead of their use."""

import queue
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch

_END = object()
_POLL_SECONDS = 0.1


class _Failure:
    def __init__(self, error: BaseException):
        self.error = error


class Prefetcher:
    """An iterator over batches that are already on the device.

    It differs from the host's in how it ends: an exception of the dataset is raised where the batch would
    have been (the host waits for ever), and the thread ends with the last reference to the iterator.

    Args:
        batches: what to iterate; drawn from by the thread only.
        device: where the tensors of a batch go. On CUDA they are copied on a stream of their own.
        depth: number of batches to hold ready.
    """

    def __init__(self, batches: Iterable, device: torch.device, depth: int = 10):
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._queue: queue.Queue = queue.Queue(depth)
        self._ahead: Any = None
        stop = threading.Event()
        thread = threading.Thread(target=_draw, args=(batches, self._queue, stop, device), daemon=True)
        # The thread must not hold on to `self`, or the iterator could never be collected.
        self.shutdown = weakref.finalize(self, _stop, thread, stop)
        thread.start()

    def __iter__(self) -> "Prefetcher":
        return self

    def __next__(self) -> Any:
        if not self.shutdown.alive:
            raise StopIteration
        batch = self._fetch() if self._ahead is None else self._ahead
        if batch is _END or isinstance(batch, _Failure):
            self._ahead = batch
            raise StopIteration if batch is _END else batch.error
        if self._stream is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_stream(self._stream)
            # Memory of the side stream must not be reused while the current stream still reads it.
            _map_tensors(lambda tensor: tensor.record_stream(current), batch)
        self._ahead = self._fetch()
        return batch

    def _fetch(self) -> Any:
        batch = self._queue.get()
        with torch.cuda.stream(self._stream) if self._stream is not None else nullcontext():
            return _map_tensors(lambda tensor: tensor.to(self._device, non_blocking=True), batch)


def _draw(batches: Iterable, ready: queue.Queue, stop: threading.Event, device: torch.device) -> None:
    try:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        for batch in batches:
            if not _put(batch, ready, stop):
                return
    except BaseException as error:
        _put(_Failure(error), ready, stop)
    else:
        _put(_END, ready, stop)


def _put(item: Any, ready: queue.Queue, stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            ready.put(item, timeout=_POLL_SECONDS)
        except queue.Full:
            continue
        return True
    return False


def _stop(thread: threading.Thread, stop: threading.Event) -> None:
    stop.set()
    # The garbage collector may run this in the thread itself.
    if thread is not threading.current_thread():
        thread.join()


def _map_tensors(function: Callable[[torch.Tensor], Any], batch: Any) -> Any:
    if isinstance(batch, torch.Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {key: _map_tensors(function, value) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(_map_tensors(function, value) for value in batch)
    return batch


def shut_down(batches: Iterator) -> None:
    """End the thread of a `Prefetcher`, or the worker processes of a torch loader's iterator. Twice does no
    harm.
    """
    stop = (
        batches.shutdown if isinstance(batches, Prefetcher) else getattr(batches, "_shutdown_workers", None)
    )
    if stop is not None:
        stop()
