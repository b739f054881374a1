"""Loaders: device-neutral, with worker processes that can start, and that end."""

import functools
import os
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from fastreid.config import configurable
from fastreid.data import build, samplers
from fastreid.data.common import CommDataset
from fastreid.utils import comm
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, default_collate

from . import parts
from .patching import replace, temporarily
from .prefetch import Prefetcher, shut_down


class DataLoaderX(DataLoader):
    """A torch loader whose batches arrive on the device; on the CPU, a plain torch loader.

    Args:
        local_rank: number of this process on its machine.
        device: MODEL.DEVICE; None means CUDA where there is any.
        kwargs: those of `torch.utils.data.DataLoader`.
    """

    def __init__(self, local_rank: int = 0, *, device: str | torch.device | None = None, **kwargs: Any):
        self.device = parts.given.batch_device(device, local_rank)
        kwargs["pin_memory"] = kwargs.get("pin_memory", False) and self.device.type == "cuda"
        super().__init__(**kwargs)
        self._running: weakref.WeakSet = weakref.WeakSet()

    def __iter__(self) -> Iterator:
        batches = super().__iter__()
        if self.device.type != "cpu":
            batches = Prefetcher(batches, self.device)
        self._running.add(batches)
        return batches

    def shutdown(self) -> None:
        """End every thread and worker process of this loader's iterators, which are of no use afterwards."""
        for batches in list(self._running):
            shut_down(batches)
        self._running.clear()
        self._iterator = None


def _build_train_loader(
    train_set: Dataset,
    *,
    sampler: Sampler | None = None,
    total_batch_size: int,
    num_workers: int = 0,
    device: str | None = None,
) -> DataLoaderX:
    """The host's `build_reid_train_loader`; `sampler=None` means a random one, `device` is MODEL.DEVICE."""
    sampler = samplers.TrainingSampler(len(train_set)) if sampler is None else sampler
    return DataLoaderX(
        comm.get_local_rank(),
        device=device,
        dataset=train_set,
        batch_sampler=BatchSampler(sampler, total_batch_size // comm.get_world_size(), True),
        num_workers=num_workers,
        collate_fn=collate,
        worker_init_fn=parts.given.leave_signals,
        pin_memory=True,
    )


def _build_test_loader(
    test_set: Dataset, test_batch_size: int, num_query: int, num_workers: int = 4, device: str | None = None
) -> tuple[DataLoaderX, int]:
    """The host's `build_reid_test_loader`; `device` is MODEL.DEVICE. Returns the loader and the number of
    queries.
    """
    sampler = samplers.InferenceSampler(len(test_set))
    loader = DataLoaderX(
        comm.get_local_rank(),
        device=device,
        dataset=test_set,
        batch_sampler=BatchSampler(sampler, max(1, test_batch_size // comm.get_world_size()), False),
        num_workers=num_workers,
        collate_fn=collate,
        worker_init_fn=parts.given.leave_signals,
        pin_memory=True,
    )
    return loader, num_query


def collate(samples: list) -> Any:
    """Batch samples by torch's rules, which agree with the host's wherever that returns anything."""
    return default_collate(samples)


def _with_device_and_workers(host_from_config):
    @functools.wraps(host_from_config)
    def from_config(cfg, *, num_workers: int | None = None, **kwargs):
        # The host has read the variable once and for all, when it was imported.
        root = os.getenv("FASTREID_DATASETS", build._root)
        with temporarily(build, "_root", root):
            arguments = host_from_config(cfg, **kwargs)
        data = arguments.get("train_set", arguments.get("test_set"))
        if len(data) == 0:
            names = kwargs.get("dataset_name") or tuple(cfg.DATASETS.NAMES)
            part = "images" if "train_set" in arguments else "images for query and gallery"
            raise parts.given.DataError(f"{names} (DATASETS; FASTREID_DATASETS is {root!r}) holds no {part}")
        arguments["num_workers"] = cfg.DATALOADER.NUM_WORKERS if num_workers is None else num_workers
        arguments["device"] = cfg.MODEL.DEVICE
        return arguments

    return from_config


def use_device_neutral_loaders() -> None:
    """Without it every loader asks for a CUDA stream ("Found no NVIDIA driver"), waits for ever when an image
    cannot be read, leaks threads, reads FASTREID_DATASETS only once, and starts 4 workers for a test set
    whatever DATALOADER.NUM_WORKERS says.
    """
    replace(build, "DataLoaderX", lambda _: DataLoaderX)
    replace(build, "_train_loader_from_config", _with_device_and_workers)
    replace(build, "_test_loader_from_config", _with_device_and_workers)
    train = configurable(from_config=build._train_loader_from_config)(_build_train_loader)
    test = configurable(from_config=build._test_loader_from_config)(_build_test_loader)
    replace(build, "build_reid_train_loader", lambda _: train)
    replace(build, "build_reid_test_loader", lambda _: test)


def collate_every_type() -> None:
    """Without it the host's collate function silently turns numpy labels, arrays and tuples into None."""
    replace(build, "fast_batch_collator", lambda _: collate)


def let_spawned_workers_import_the_host() -> None:
    """Without it worker processes that are spawned, as every rank's are, die: unpickling the dataset imports
    the host before anything has repaired it.
    """
    replace(CommDataset, "__reduce__", lambda _: lambda self: (_restore, (type(self), vars(self))))


def _restore(cls: type, state: dict) -> Any:
    """Rebuild an object; that this function is found here is what imports, and so repairs, the host first."""
    restored = cls.__new__(cls)
    vars(restored).update(state)
    return restored


REPAIRS = (use_device_neutral_loaders, collate_every_type, let_spawned_workers_import_the_host)
