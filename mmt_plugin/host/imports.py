"""Import the host on a stack where names it asks for no longer exist."""

import collections
import collections.abc
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

# `fastreid.engine` imports everything but two modules that the evaluator imports when it needs them.
_HOST_MODULES = ("fastreid.engine", "fastreid.evaluation.rank", "fastreid.evaluation.roc")


def import_host() -> None:
    """Without it `import fastreid.data` fails with "No module named 'torch._six'", then with "cannot import
    name 'Mapping'".

    The names exist only while the host is imported. Afterwards nothing is left behind that could make other
    libraries believe in an old torch or an old Python.
    """
    with _torch_six(), _collections_mapping(), warnings.catch_warnings():
        # The compiled evaluation the host recommends here is superseded (see evaluation.py).
        warnings.filterwarnings("ignore", message="Cython (rank|roc) evaluation")
        for name in _HOST_MODULES:
            importlib.import_module(name)


@contextmanager
def _torch_six() -> Iterator[None]:
    """torch 1.13's `torch._six`, as far as the host uses it."""
    if importlib.util.find_spec("torch._six") is not None:
        yield
        return
    stand_in = ModuleType("torch._six")
    stand_in.string_classes = (str, bytes)
    sys.modules["torch._six"] = stand_in
    try:
        yield
    finally:
        del sys.modules["torch._six"]


@contextmanager
def _collections_mapping() -> Iterator[None]:
    """`collections.Mapping`, which Python 3.10 moved to `collections.abc` for good."""
    if hasattr(collections, "Mapping"):
        yield
        return
    collections.Mapping = collections.abc.Mapping
    try:
        yield
    finally:
        del collections.Mapping
