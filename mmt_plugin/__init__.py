"""Unsupervised domain adaptation for fastreid. After importing this the host is usable on today's Python, and
everything is registered; the seconds that takes are spent when either is first used.

Without the host, or with another version of it, a warning says what to install, and
`mmt_plugin.pseudo_labels` and `mmt_plugin.retrieval`, which need no host, are all that works.
"""

import importlib
import warnings
from typing import TYPE_CHECKING, Any

from . import first_use, host
from .version import __version__

if TYPE_CHECKING:
    from .config import add_mmt_config
    from .inference import FeatureExtractor

__all__ = ["FeatureExtractor", "__version__", "add_mmt_config"]

# Where each public name is defined.
_HOMES = {"FeatureExtractor": "inference", "add_mmt_config": "config"}
_PACKAGES = ("config", "data", "engine", "modeling", "sda", "synthetic")

_missing = ""
try:
    host.check()
except ImportError as error:
    _missing = str(error)
    warnings.warn(
        f"{_missing}; until then only mmt_plugin.pseudo_labels and mmt_plugin.retrieval work", stacklevel=2
    )
else:
    first_use.prepare()


def __getattr__(name: str) -> Any:
    """What is imported when it is asked for, and what cannot be without the host."""
    if name not in _HOMES and name not in _PACKAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _missing:
        raise ImportError(_missing)
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
