"""Files of weights, read as data only: nothing in them can run code."""

import pickle
from typing import Any

import torch


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
    load_file = import_safetensors().torch.load_file
    try:
        return load_file(path)
    except import_safetensors().SafetensorError as error:
        raise ValueError(f"{path} is truncated, or no file of safetensors ({error})") from error


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
