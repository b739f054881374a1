"""Which host this plugin repairs."""

from importlib import metadata

HOST_VERSION = "1.4.0"


def check() -> None:
    """Make sure that the host to be repaired is the one the repairs were written for.

    `fastreid.__version__` is of no use: release 1.4.0 says "1.3". The distribution's metadata are right.

    Raises:
        ImportError: fastreid is missing or another version; the message holds the command that installs the
            right one.
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
