"""Whether two configurations make the same model."""

from collections.abc import Iterable

import yaml
from fastreid.config import get_cfg

from mmt_plugin.config import add_mmt_config

# What may change between two calls without making another model.
FREE_KEYS = (
    "MODEL.DEVICE",
    "MODEL.BACKBONE.GRADIENT_CHECKPOINTING",
    "DATALOADER.NUM_WORKERS",
    "OUTPUT_DIR",
    "IMPORTS",
    "SOLVER.CHECKPOINT_PERIOD",
    "SOLVER.CHECKPOINT_KEEP",
    "TEST.EVAL_PERIOD",
    "REPORT.ENABLED",
    "REPORT.SAMPLE",
    "REPORT.LABEL_NOISE",
    "REPORT.WANDB_PROJECT",
)
# A resumed run may also go on for longer, and no longer needs to know where its source models were.
RESUME_FREE_KEYS = (
    *FREE_KEYS,
    "SOLVER.MAX_EPOCH",
    "MMT.WEIGHTS",
    "SDA.SOURCE_ENCODER",
    "SDA.TARGET_ENCODER",
    "SDA.SHEET.PERIOD",
    "SYNTHETIC.NUM_WORKERS",
)


def recipe_changes(old: str, new: str, free: Iterable[str] = FREE_KEYS) -> list[str]:
    """Keys, other than the free ones, whose values differ, each as "KEY old -> new".

    Keys that the old one lacks, because the version that wrote it did not know them, have their defaults in
    it: a default keeps what was done before there was the key.

    Args:
        old, new: configurations as `CfgNode.dump()` writes them.
        free: keys that do not count.
    """
    defaults = get_cfg()
    add_mmt_config(defaults)
    defaults, before, after = (flatten(yaml.safe_load(text)) for text in (defaults.dump(), old, new))
    before = {**{key: defaults[key] for key in after.keys() & defaults.keys()}, **before}
    return [
        f"{key} {before.get(key)} -> {after.get(key)}"
        for key in sorted(before.keys() | after.keys())
        if key not in free and before.get(key) != after.get(key)
    ]


def flatten(tree: dict, prefix: str = "") -> dict:
    """Nested config values by dotted key."""
    flat = {}
    for key, value in tree.items():
        flat.update(
            flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        )
    return flat
