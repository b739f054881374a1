"""The only place that knows fastreid 1.4.0's age.

`repair()` makes the installed host usable, unmodified, on today's Python, torch and numpy, on the CPU and on
CUDA, in one process or several. Every repair is one function, named for what works afterwards, whose
docstring says what breaks without it; each module lists its own in REPAIRS.
"""

import importlib
import sys

from mmt_plugin.system.devices import resolve_device
from mmt_plugin.system.memory import keep_freed_memory

from .distributed import launch
from .imports import import_host
from .version import check

__all__ = ["check", "keep_freed_memory", "launch", "repair", "resolve_device"]

# In this order: later ones build on names that earlier ones have replaced.
_MODULES = (
    "checkpoint",
    "images",
    "datasets",
    "samplers",
    "loading",
    "models",
    "pretrained",
    "similarity",
    "evaluation",
    "optimisation",
    "hooks",
    "training",
    "distributed",
)


def repair() -> None:
    """Import the host and repair it, once per process.

    Raises:
        ImportError: fastreid is missing or of another version.
    """
    check()
    import_host()
    host = sys.modules["fastreid"]
    if getattr(host, "is_repaired", False):
        return
    for name in _MODULES:
        for step in importlib.import_module(f"{__name__}.{name}").REPAIRS:
            step()
    host.is_repaired = True
