"""What the names in a config stand for, by fastreid's registries: also for a user's own classes."""

import difflib

from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

from .errors import ConfigError

MMT, SDA = "MutualMeanTeaching", "StructuredDomainAdaptation"


def is_a(cfg: CfgNode, name: str) -> bool:
    """Whether MODEL.META_ARCHITECTURE is the registered class of this name, or one derived from it.

    Raises:
        ConfigError: nothing is registered under MODEL.META_ARCHITECTURE.
    """
    check_registered(cfg)
    architecture = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    return isinstance(architecture, type) and issubclass(architecture, META_ARCH_REGISTRY.get(name))


def check_registered(cfg: CfgNode, *, inference: bool = False) -> None:
    """Refuse names of networks that nothing is registered under.

    Args:
        cfg: any.
        inference: one network is wanted alone, which needs no meta-architecture.

    Raises:
        ConfigError: naming the key, near names, and the imports that the run was made with.
    """
    for key, name, registry in (
        ("MODEL.META_ARCHITECTURE", cfg.MODEL.META_ARCHITECTURE, META_ARCH_REGISTRY),
        ("MODEL.BACKBONE.NAME", cfg.MODEL.BACKBONE.NAME, BACKBONE_REGISTRY),
        ("MODEL.HEADS.NAME", cfg.MODEL.HEADS.NAME, REID_HEADS_REGISTRY),
    ):
        if inference and registry is META_ARCH_REGISTRY:
            continue
        known = registry._obj_map
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ConfigError(
                f"{key} is {name!r}, but nothing is registered under that name; {hint}{remedy(cfg)}"
            )


def remedy(cfg: CfgNode) -> str:
    """What brings in the user's own parts that a config names."""
    if cfg.get("IMPORTS"):
        words = " ".join(f"--import {name}" for name in cfg.IMPORTS)
        return f"The run was made with {words}: give that again, if you trust that code"
    return "A module or file of yours that registers it is named with --import"
