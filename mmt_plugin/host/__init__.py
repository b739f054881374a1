"""The only place that knows fastreid 1.4.0's age.

`repair()` makes the installed host usable, unmodified, on today's Python, torch and numpy, on the CPU and on
CUDA, in one process or several. Every repair is one function, named for what works afterwards, whose
docstring says what breaks without it; each module lists its own in REPAIRS. Nothing here imports anything of
the plugin: what a repair needs of it is handed over (parts.py).
"""

import importlib
import sys

from . import parts
from .host_version import check
from .imports import import_host

__all__ = ["check", "repair"]

# In this order: later ones build on names that earlier ones have replaced.
_MODULES = (
    "registries",
    "checkpoint",
    "images",
    "dataset_folders",
    "file_names",
    "training_samplers",
    "loaders",
    "models",
    "pretrained",
    "faiss_reranking",
    "evaluators",
    "optimisation",
    "hooks",
    "training",
    "distributed",
)


def repair(given: parts.Parts) -> None:
    """Import the host and repair it, once per process.

    Args:
        given: what the repairs need and the host lacks.

    Raises:
        ImportError: fastreid is missing or of another version.
    """
    check()
    import_host()
    host = sys.modules["fastreid"]
    if getattr(host, "is_repaired", False):
        return
    parts.given = given
    for name in _MODULES:
        for step in importlib.import_module(f"{__name__}.{name}").REPAIRS:
            step()
    host.is_repaired = True
