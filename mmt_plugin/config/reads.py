"""Which keys of a configuration a run reads, noted as they are read.

A key of fastreid's that nothing reads here would be a wish that config.yaml records as a fact. No list of
such keys is kept: a run that is built has read what it will ever read, and whatever code reads a key, the
plugin's, the host's or a user's own, counts.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Iterator
from typing import Any

from fastreid.config import CfgNode, get_cfg

from mmt_plugin.errors import ConfigError

from .architecture import MMT, is_a
from .defaults import add_mmt_config

logger = logging.getLogger("fastreid.mmt")

# What does under MMT what a key, or all keys of a node, do in fastreid's own recipes. For messages only.
INSTEAD = {
    "MODEL.LOSSES.CE.EPSILON": "MMT.CE_EPSILON smooths labels",
    "MODEL.LOSSES.TRI": "MMT.TRIPLET_WEIGHT weighs the triplet loss, which is soft and has no margin",
    "MODEL.LOSSES": "the losses are those of MMT.SOFT_CE_WEIGHT, MMT.TRIPLET_WEIGHT, MMT.SOFT_TRI_WEIGHT and "
    "MMT.MOCO.WEIGHT; margins of classifiers stand in MODEL.HEADS",
    "MODEL.QUEUE_SIZE": "MMT.MOCO.QUEUE_SIZE is the memory's size",
    "KD.EMA": "MMT.EMA.ENABLED and MMT.EMA.ALPHA are the mean teacher's",
    "KD": "networks teach each other: MMT.NUM_PAIRS, MMT.EMA.ENABLED and MMT.SOFT_CE_WEIGHT",
    "DATALOADER.SAMPLER_TRAIN": "DATALOADER.BATCHES says how batches are drawn",
    "DATALOADER.SET_WEIGHT": "MMT.JOINT.IMS_PER_BATCH says how many source images a batch has",
    "TEST.PRECISE_BN.NUM_ITER": "all training images of TEST.PRECISE_BN.DATASET are seen once",
}


class Notes:
    """What is noted of a configuration and of all copies of it.

    Attributes:
        read: dotted keys that were read.
        written: those that the user has set in the recipe's own file or behind it; None where nobody knows.
    """

    def __init__(self, written: Iterable[str] | None):
        self.read: set[str] = set()
        self.written = None if written is None else frozenset(written)

    def __deepcopy__(self, memo: dict) -> Notes:
        return self


class RecordingConfig(CfgNode):
    """A configuration that notes which of its keys are read; dumping, comparing and copying it read none."""

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        if not isinstance(value, CfgNode) and "notes" in self.__dict__:
            self.__dict__["notes"].read.add(self.__dict__["prefix"] + key)
        return value

    def get(self, key: str, default: Any = None) -> Any:
        if key not in self:
            return default
        return self[key]


def recording(cfg: CfgNode, written: Iterable[str] | None = None) -> RecordingConfig:
    """The same configuration, frozen if it is, noting from now on what is read of it and of its copies.

    Args:
        cfg: any; one that is recording already is returned as it is.
        written: dotted keys, or nodes, that the user has set for this run.
    """
    return cfg if isinstance(cfg, RecordingConfig) else _recording(cfg, "", Notes(written))


def _recording(node: CfgNode, prefix: str, notes: Notes) -> RecordingConfig:
    copy = RecordingConfig()
    for key, value in node.items():
        nested = isinstance(value, CfgNode)
        dict.__setitem__(copy, key, _recording(value, f"{prefix}{key}.", notes) if nested else value)
    copy.__dict__.update(node.__dict__, notes=notes, prefix=prefix)
    return copy


def unread_keys(cfg: RecordingConfig) -> list[str]:
    """Keys of fastreid's that are not at their defaults, and that nothing has read so far."""
    default = get_cfg()
    host_keys = {key for key, _ in leaves(default)}
    add_mmt_config(default)
    before, read = dict(leaves(default)), cfg.__dict__["notes"].read
    return sorted(
        key for key, value in leaves(cfg) if key in host_keys and value != before[key] and key not in read
    )


def refuse_unread(cfg: RecordingConfig, settled: Container[str] = ()) -> None:
    """Refuse what the user has set and the run, which is built, will never read; tell what a base recipe or a
    program has set.

    Args:
        cfg: with the notes of what was read.
        settled: keys that a resumed run was made with, perhaps by an earlier version: they are only told.

    Raises:
        ConfigError: naming the keys, and those that do it here.
    """
    unread = unread_keys(cfg)
    written = cfg.__dict__["notes"].written or ()
    refused = [key for key in unread if key in written and key not in settled]
    if refused:
        raise ConfigError(
            "\n".join(f"{key} is set, but this run never reads it: {_remedy(cfg, key)}" for key in refused)
        )
    if unread:
        logger.info(f"Set by a base recipe, but not read by this run: {', '.join(unread)}")


def _remedy(cfg: CfgNode, key: str) -> str:
    """What to do about a key that is not read; what does it here is known of MMT alone."""
    parts = key.split(".") if is_a(cfg, MMT) else []
    nodes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((INSTEAD[node] for node in nodes if node in INSTEAD), "take it out of the configuration")


def leaves(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of all values, unnoticed."""
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
