"""Checkpoints: never half written, never able to run code."""

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import torch
from fastreid.utils import checkpoint
from fastreid.utils.file_io import PathManager

from .patching import Overlay, replace


def load_weights(path: str, map_location: Any = "cpu", **kwargs: Any) -> Any:
    """`torch.load` that unpickles tensors and plain containers only, whatever torch's default is.

    Raises:
        FileNotFoundError: `path` is empty.
        ValueError: the file holds other objects, which unpickling would have to run code for.
    """
    if not path:
        raise FileNotFoundError(
            "there is no file to load: set MODEL.BACKBONE.PRETRAIN_PATH, or MODEL.BACKBONE.PRETRAIN False"
        )
    try:
        return torch.load(path, map_location=map_location, **{"weights_only": True, **kwargs})
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is damaged or holds more than tensors; if you trust it, load it once with "
            "torch.load(..., weights_only=False) and save the state dict alone"
        ) from error


def load_checkpoints_safely() -> None:
    """Without it torch < 2.6 unpickles, and so runs, whatever a checkpoint holds, and later versions fail
    without naming the file.
    """
    replace(checkpoint.Checkpointer, "_load_file", lambda _: lambda self, path: load_weights(path))


def write_checkpoints_atomically() -> None:
    """Without it a run that is killed while saving leaves a torn file under the name that the next one
    resumes from.
    """
    checkpoint.PathManager = Overlay(PathManager, open=_open)


def _open(path: str, mode: str = "r", **kwargs: Any):
    opener = replace_when_complete if "w" in mode and "://" not in path else PathManager.open
    return opener(path, mode, **kwargs)


@contextmanager
def replace_when_complete(path: str, mode: str, **kwargs: Any) -> Iterator[IO]:
    """Open a file that takes its name once it is written and synced: readers see the old or the new one."""
    unfinished = f"{path}.{os.getpid()}.tmp"
    try:
        with PathManager.open(unfinished, mode, **kwargs) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        if os.path.exists(unfinished):
            os.remove(unfinished)


REPAIRS = (load_checkpoints_safely, write_checkpoints_atomically)
