"""Unsupervised domain adaptation for fastreid. Importing this makes the host usable on today's Python and
registers everything.

Without the host, or with another version of it, a warning says what to install, and
`mmt_plugin.pseudo_labels`, which needs no host, is all that works.
"""

import warnings
from typing import Any

from . import host
from .version import __version__

__all__ = ["__version__", "add_mmt_config"]

try:
    host.check()
except ImportError as error:
    _MISSING = str(error)
    warnings.warn(f"{_MISSING}; until then only mmt_plugin.pseudo_labels works", stacklevel=2)

    def __getattr__(name: str) -> Any:
        if name in __all__:
            raise ImportError(_MISSING)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
else:
    host.repair()
    from . import data, modeling, sda  # noqa: F401  (registration)
    from .config import add_mmt_config
