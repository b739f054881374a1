"""numpy's scalars in a checkpoint (a rank-1, a learning rate), read as plain numbers.

torch refuses them with everything else that is no tensor. They are pickled as calls of three functions, in
whose places harmless ones of the same names are allowed here: nothing of numpy's unpickling runs.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from torch.serialization import safe_globals


class _ScalarType:
    """Stands for `numpy.dtype`: of numbers and booleans only."""

    def __init__(self, code: str, *_: bool):
        dtype = np.dtype(code) if isinstance(code, str) and len(code) < 4 else np.dtype("O")
        if dtype.kind not in "biuf":
            raise ValueError(f"a numpy scalar of type {code!r} is no number")
        self.dtype = dtype

    def __setstate__(self, state: tuple) -> None:
        if state[1] == ">":
            self.dtype = self.dtype.newbyteorder(">")


def _scalar(kind: _ScalarType, data: bytes) -> float | int | bool:
    if len(data) != kind.dtype.itemsize:
        raise ValueError(f"a numpy scalar of {kind.dtype} has {len(data)} bytes")
    return np.frombuffer(data, kind.dtype)[0].item()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _named(thing: Callable, module: str, name: str) -> Any:
    if isinstance(thing, type):
        return type(name, (thing,), {"__module__": module})

    def renamed(*args: Any) -> Any:
        return thing(*args)

    renamed.__module__, renamed.__name__, renamed.__qualname__ = module, name, name
    return renamed


_ALLOWED = [
    _named(_ScalarType, "numpy", "dtype"),
    _named(_scalar, "numpy.core.multiarray", "scalar"),  # written under numpy 1
    _named(_scalar, "numpy._core.multiarray", "scalar"),
    _named(_encode, "_codecs", "encode"),
]


def numpy_scalars_as_numbers() -> AbstractContextManager:
    """While it is entered, `torch.load(weights_only=True)` reads numpy's scalars as numbers."""
    return safe_globals(_ALLOWED)
