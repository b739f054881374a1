"""Datasets, transforms, samplers and loaders."""

from fastreid.config import CfgNode

from mmt_plugin import synthetic

from .datasets import cameras, msmt17, own, translated, visda  # registers them

__all__ = ["cameras", "configure", "msmt17", "own", "synthetic", "translated", "visda"]


def configure(cfg: CfgNode) -> None:
    """Make the names in a config stand, in this process, for the data it describes: the built-in world of its
    size, and own folders and lists.

    Raises:
        WorldError: a value of SYNTHETIC is out of range; the message names the key.
    """
    synthetic.configure(cfg)
    own.configure(cfg)
