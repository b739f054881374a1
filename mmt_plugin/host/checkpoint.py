"""Checkpoints: never half written, never able to run code."""

from typing import Any

from fastreid.utils import checkpoint
from fastreid.utils.file_io import PathManager

from . import parts
from .patching import Overlay, replace


def load_checkpoints_safely() -> None:
    """Without it torch < 2.6 unpickles, and so runs, whatever a checkpoint holds, and later versions fail
    without naming the file.
    """
    replace(
        checkpoint.Checkpointer, "_load_file", lambda _: lambda self, path: parts.given.load_weights(path)
    )


def write_checkpoints_atomically() -> None:
    """Without it a run that is killed while saving leaves a torn file under the name that the next one
    resumes from.
    """
    checkpoint.PathManager = Overlay(PathManager, open=_open)


def _open(path: str, mode: str = "r", **kwargs: Any):
    opener = parts.given.replace_when_complete if "w" in mode and "://" not in path else PathManager.open
    return opener(path, mode, **kwargs)


REPAIRS = (load_checkpoints_safely, write_checkpoints_atomically)
