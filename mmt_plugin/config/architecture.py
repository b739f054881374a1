"""What the names in a config stand for, by fastreid's registries: also for a user's own classes."""

import difflib
from collections.abc import Iterable

from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

from mmt_plugin.errors import ConfigError
from mmt_plugin.modeling.memory import MEMORY_REGISTRY
from mmt_plugin.modeling.objective import LOSS_REGISTRY

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
    """Refuse names of parts that nothing is registered under.

    Args:
        cfg: any.
        inference: one network is wanted alone, which needs a backbone and a head.

    Raises:
        ConfigError: naming the key, near names, and the imports that the run was made with.
    """
    parts = [
        ("MODEL.BACKBONE.NAME", cfg.MODEL.BACKBONE.NAME, BACKBONE_REGISTRY._obj_map),
        ("MODEL.HEADS.NAME", cfg.MODEL.HEADS.NAME, REID_HEADS_REGISTRY._obj_map),
    ]
    if not inference:
        parts += [
            ("MODEL.META_ARCHITECTURE", cfg.MODEL.META_ARCHITECTURE, META_ARCH_REGISTRY._obj_map),
            ("MMT.CLASSIFIER", cfg.MMT.CLASSIFIER, ("weights", *MEMORY_REGISTRY._obj_map)),
            *(
                ("a loss of MMT.EXTRA_LOSSES", name, LOSS_REGISTRY._obj_map)
                for name in loss_names(cfg.MMT.EXTRA_LOSSES)
            ),
        ]
    for key, name, known in parts:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ConfigError(
                f"{key} is {name!r}, but nothing is registered under that name; {hint}{remedy(cfg)}"
            )


def loss_names(losses: Iterable) -> list[str]:
    """The names of MMT.EXTRA_LOSSES, of such entries as have one."""
    entries = [entry for entry in losses if isinstance(entry, tuple | list) and entry]
    return [entry[0] for entry in entries if isinstance(entry[0], str)]


def remedy(cfg: CfgNode) -> str:
    """What brings in the user's own parts that a config names."""
    if cfg.get("IMPORTS"):
        words = " ".join(f"--import {name}" for name in cfg.IMPORTS)
        return f"The run was made with {words}: give that again, if you trust that code"
    return "A module or file of yours that registers it is named with --import"
