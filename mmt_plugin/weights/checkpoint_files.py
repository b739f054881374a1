"""Files of weights, read as data only: nothing in them can run code."""

import os
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from mmt_plugin.errors import MissingFileError, UserError

from .numpy_scalars import numpy_scalars_as_numbers

# A file may hold a little less than its tensors ask for: names, alignment, one storage under two names.
_ROOM = 2**20


class WeightsFileError(UserError, ValueError):
    """A file that is damaged, no file of weights, or not only that; the message names it and says why."""


def load_weights(path: str, map_location: Any = "cpu", **kwargs: Any) -> Any:
    """`torch.load` that unpickles tensors, plain containers and numbers only, whatever torch's default is;
    and files of safetensors.

    Raises:
        MissingFileError: `path` is empty, or there is no such file.
        ImportError: a safetensors file, and no package to read it.
        WeightsFileError: the file is truncated or of another kind, holds objects or programs, or asks for far
            more memory than it holds.
    """
    if not path:
        raise MissingFileError(
            "there is no file to load: set MODEL.BACKBONE.PRETRAIN_PATH, or MODEL.BACKBONE.PRETRAIN False"
        )
    if not os.path.isfile(path):
        raise MissingFileError(f"there is no file of weights {os.fspath(path)!r}")
    if str(path).endswith(".safetensors"):
        return _load_safetensors(path)
    _refuse_programs(path)
    try:
        with numpy_scalars_as_numbers():
            content = torch.load(path, map_location=map_location, **{"weights_only": True, **kwargs})
    except pickle.UnpicklingError as error:
        raise WeightsFileError(
            f"{path} is damaged, or holds more than tensors and plain values. Such a file can run code when "
            "it is unpickled, so it is refused; if you trust it, load it once with "
            f"torch.load(..., weights_only=False) and save the state dict alone ({_first_sentence(error)})"
        ) from error
    except (RuntimeError, EOFError, KeyError, IndexError, AttributeError, TypeError, ValueError) as error:
        reason = _first_sentence(error)
        raise WeightsFileError(f"{path} is truncated, or no file of weights ({reason})") from error
    _refuse_expanded(path, content)
    return content


def _refuse_programs(path: str) -> None:
    """torch < 2.6 runs TorchScript archives even where `weights_only` is asked for. Archives are stored, not
    compressed, by every version; a compressed one can be a thousand times its size.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        entries = zipfile.ZipFile(path).infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise WeightsFileError(f"{path} is damaged ({error})") from error
    for entry in entries:
        folders, name = os.path.split(entry.filename.replace("\\", "/"))
        if name == "constants.pkl" or "code" in folders.split("/"):
            raise WeightsFileError(
                f"{path} is a TorchScript archive (it holds {entry.filename}), which is a program and not "
                "weights: save the network's state dict instead"
            )
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > 2 * os.path.getsize(path) + _ROOM:
        raise WeightsFileError(
            f"{path} is refused: its {os.path.getsize(path):,} bytes unpack to {unpacked:,}, and no version "
            "of torch compresses weights"
        )


def _refuse_expanded(path: str, content: Any) -> None:
    """A tensor can repeat a few stored numbers without end, and takes all that memory once it is copied."""
    repeated = 0
    for name, tensor in named_tensors(content):
        if tensor.layout != torch.strided:
            raise WeightsFileError(f"{path}: {name} is a sparse tensor, which no network has")
        if tensor.is_meta or tensor.is_nested or tensor.is_quantized:
            raise WeightsFileError(f"{path}: {name} is a tensor of a kind that no network's weights have")
        asked, held = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
        repeated += max(0, asked - held)
        if repeated > _ROOM:
            raise WeightsFileError(
                f"{path} is refused: {name} asks for {asked:,} bytes of memory, of which the file holds "
                f"{held:,}"
            )


def named_tensors(content: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor in nested dicts and sequences, under its keys joined by dots."""
    if isinstance(content, torch.Tensor):
        yield name, content
    elif isinstance(content, (Mapping, list, tuple)):
        items = content.items() if isinstance(content, Mapping) else enumerate(content)
        for key, value in items:
            yield from named_tensors(value, f"{name}.{key}" if name else str(key))


def _first_sentence(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].split('. ')[0] if lines else 'no reason given'}"


def _load_safetensors(path: str) -> dict[str, torch.Tensor]:
    safetensors = import_safetensors()
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise WeightsFileError(f"{path} is truncated, or no file of safetensors ({error})") from error


def import_safetensors() -> Any:
    """The package safetensors, an optional one, with its module for torch.

    Raises:
        ImportError: naming the command that installs it.
    """
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError("files of safetensors need that package: pip install safetensors") from error
    return safetensors
