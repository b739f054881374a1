"""Datasets, transforms, samplers and loaders."""

from fastreid.config import CfgNode

from mmt_plugin import synthetic

from .datasets import cameras, msmt17, own, translated, visda  # registers them

__all__ = ["cameras", "configure", "msmt17", "own", "synthetic", "translated", "visda"]


def configure(cfg: CfgNode, command: CfgNode | None = None) -> None:
    """Make the names in a config stand, in this process, for the data it describes: the built-in world of its
    size, and own folders and lists.

    Args:
        cfg: of a run.
        command: of the command that looks at the run: its own data sets, and its DATASETS.OWN, come first.

    Raises:
        WorldError: a value of SYNTHETIC is out of range; the message names the key.
    """
    synthetic.configure(cfg)
    own.configure(cfg)
    if command is not None:
        own.configure(command)
