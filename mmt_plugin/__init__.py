"""Unsupervised domain adaptation for fastreid. Importing this makes the host usable on today's Python and
registers everything.
"""

from . import host

host.repair()

from . import data, modeling  # noqa: E402, F401  (registration)
from .config import add_mmt_config  # noqa: E402
from .version import __version__  # noqa: E402

__all__ = ["__version__", "add_mmt_config"]
