"""Unsupervised domain adaptation for fastreid. Importing this makes the host usable on today's Python and
registers everything.

Without the host, or with another version of it, a warning says what to install, and
`mmt_plugin.pseudo_labels`, which needs no host, is all that works.
"""

import warnings
from typing import TYPE_CHECKING, Any

from . import host
from .version import __version__

if TYPE_CHECKING:
    from .inference import FeatureExtractor

__all__ = ["FeatureExtractor", "__version__", "add_mmt_config"]

_missing = ""
try:
    host.check()
except ImportError as error:
    _missing = str(error)
    warnings.warn(f"{_missing}; until then only mmt_plugin.pseudo_labels works", stacklevel=2)
else:
    from .host_parts import PARTS

    host.repair(PARTS)
    from . import data, modeling, sda  # noqa: F401  (registration)
    from .config import add_mmt_config


def __getattr__(name: str) -> Any:
    """What is imported when it is asked for, and what cannot be without the host."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _missing:
        raise ImportError(_missing)
    from .inference import FeatureExtractor

    return FeatureExtractor


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
