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

# What a file that is being written is called until it is whole.
UNFINISHED = ".unfinished"


def load_weights(path: str, map_location: Any = "cpu", **kwargs: Any) -> Any:
    """`torch.load` that unpickles tensors and plain containers only, whatever torch's default is; and files
    of safetensors.

    Raises:
        FileNotFoundError: `path` is empty.
        ImportError: a safetensors file, and no package to read it.
        ValueError: the file is truncated or of another kind, or holds objects, which unpickling would have to
            run code for.
    """
    if not path:
        raise FileNotFoundError(
            "there is no file to load: set MODEL.BACKBONE.PRETRAIN_PATH, or MODEL.BACKBONE.PRETRAIN False"
        )
    if str(path).endswith(".safetensors"):
        return _load_safetensors(path)
    try:
        return torch.load(path, map_location=map_location, **{"weights_only": True, **kwargs})
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is damaged, or holds more than tensors and plain values. Such a file can run code when "
            "it is unpickled, so it is refused; if you trust it, load it once with "
            f"torch.load(..., weights_only=False) and save the state dict alone ({_first_sentence(error)})"
        ) from error
    except (RuntimeError, EOFError, KeyError, IndexError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is truncated, or no file of weights ({_first_sentence(error)})") from error


def _first_sentence(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].split('. ')[0] if lines else 'no reason given'}"


def _load_safetensors(path: str) -> dict[str, torch.Tensor]:
    safetensors = import_safetensors()
    try:
        return safetensors.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is truncated, or no file of safetensors ({error})") from error


def import_safetensors() -> Any:
    """The functions of the package safetensors, an optional one.

    Raises:
        ImportError: naming the command that installs it.
    """
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError("files of safetensors need that package: pip install safetensors") from error
    return Overlay(safetensors.torch, SafetensorError=safetensors.SafetensorError)


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
    """Open a file that takes its name once it is written and synced: readers see the old or the new one, and
    after a power cut, too.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file is then untouched.
    """
    unfinished = f"{path}.{os.getpid()}{UNFINISHED}"
    failures: list[OSError] = []
    try:
        try:
            with PathManager.open(unfinished, mode, **kwargs) as file:
                yield _Remembering(file, failures)
                file.flush()
                os.fsync(file.fileno())
        except RuntimeError as error:
            # torch reports a failed write as an internal error of its own.
            raise (failures or [error])[0] from error
        os.replace(unfinished, path)
    except OSError as error:
        reason = f"{path} could not be written, what was there before is untouched: {error.strerror or error}"
        raise type(error)(error.errno, reason) from error
    finally:
        if os.path.exists(unfinished):
            os.remove(unfinished)
    sync_folder(os.path.dirname(path))


class _Remembering:
    """A file that remembers why writing to it failed."""

    def __init__(self, file: IO, failures: list[OSError]):
        self._file, self._failures = file, failures

    def write(self, data: Any) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self._failures.append(error)
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def sync_folder(folder: str) -> None:
    """Make a folder's entries, new names among them, survive a power cut."""
    descriptor = os.open(folder or ".", os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished(folder: str) -> None:
    """Delete what a process that was killed while it wrote has left. The caller is the folder's only user."""
    for name in os.listdir(folder):
        if name.endswith(UNFINISHED):
            os.remove(os.path.join(folder, name))


REPAIRS = (load_checkpoints_safely, write_checkpoints_atomically)
