"""Which host this plugin repairs."""

import re
from importlib import metadata

HOST_VERSION = "1.4.0"
# Earlier ones run code that checkpoints hold (CVE-2025-32434), and cannot give ranks time to end.
TORCH_FLOOR = (2, 6)


def check() -> None:
    """Make sure that the host to be repaired is the one the repairs were written for.

    `fastreid.__version__` is of no use: release 1.4.0 says "1.3". The distribution's metadata are right.

    Raises:
        ImportError: fastreid is missing or another version, or torch is too old; the message holds the
            command that installs the right one.
    """
    command = f"pip install --no-deps fastreid=={HOST_VERSION}"
    try:
        installed = metadata.version("fastreid")
    except metadata.PackageNotFoundError:
        raise ImportError(
            f"mmt_plugin needs fastreid {HOST_VERSION}, which is not installed: run `{command}`"
        ) from None
    if installed != HOST_VERSION:
        raise ImportError(
            f"mmt_plugin needs fastreid {HOST_VERSION} but {installed} is installed: run `{command}`"
        )
    torch = metadata.version("torch")
    if tuple(map(int, re.findall(r"\d+", torch)[:2])) < TORCH_FLOOR:
        floor = ".".join(map(str, TORCH_FLOOR))
        raise ImportError(
            f"mmt_plugin needs torch {floor} or later, but {torch} is installed: run "
            f"`pip install 'torch>={floor}'`"
        )
