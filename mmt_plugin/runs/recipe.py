"""Whether two configurations make the same model."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from fastreid.config import CfgNode, get_cfg

from mmt_plugin.config import ConfigError, add_mmt_config
from mmt_plugin.config.yaml_file import parse_mapping, read_mapping
from mmt_plugin.data.datasets.own.names import is_own

from .run_files import CONFIG

logger = logging.getLogger("fastreid.mmt")

# What may change between two calls without making another model.
FREE_KEYS = (
    "MODEL.DEVICE",
    "MODEL.BACKBONE.GRADIENT_CHECKPOINTING",
    "DATALOADER.NUM_WORKERS",
    "DATALOADER.CACHE",
    "OUTPUT_DIR",
    "IMPORTS",
    "SOLVER.CHECKPOINT_PERIOD",
    "SOLVER.CHECKPOINT_KEEP",
    "SYNTHETIC.NUM_WORKERS",
    "TEST.EVAL_PERIOD",
    "REPORT.ENABLED",
    "REPORT.SAMPLE",
    "REPORT.LABEL_NOISE",
    "REPORT.WANDB_PROJECT",
)
# A resumed run may also go on for longer, and no longer needs to know where what it started from lies.
RESUME_FREE_KEYS = (
    *FREE_KEYS,
    "SOLVER.MAX_EPOCH",
    "MMT.WEIGHTS",
    "MMT.SOURCE.CONFIG_FILE",
    "MODEL.WEIGHTS",
    "MODEL.BACKBONE.PRETRAIN_PATH",
    "SDA.SOURCE_ENCODER",
    "SDA.TARGET_ENCODER",
    "SDA.SHEET.PERIOD",
)
OWN_DATA_KEYS = ("DATASETS.NAMES", "DATASETS.TARGETS", "DATASETS.TESTS", "MMT.SELECTION.DATASET")


def recipe_changes(
    old: str, new: str, free: Iterable[str] = FREE_KEYS, allowed: Iterable[str] = ()
) -> list[str]:
    """Keys whose values differ, each as "KEY old -> new", other than free keys and those whose change the
    user allows.

    Keys that the old one lacks, because the version that wrote it did not know them, have their defaults in
    it: a default keeps what was done before there was the key.

    Args:
        old, new: configurations as `CfgNode.dump()` writes them.
        free: keys that do not count.
        allowed: keys that do not count, either.
    """
    defaults = flatten(_defaults())
    before, after = (flatten(parse_mapping(text, "the run's configuration")) for text in (old, new))
    before = {**{key: defaults[key] for key in after.keys() & defaults.keys()}, **before}
    same_before, same_after = in_one_form(before), in_one_form(after)
    skipped = {*free}
    if after.get("MMT.SELECTION.RULE") == "best":
        skipped -= {"TEST.EVAL_PERIOD"}  # says which epochs' models can be chosen
    skipped |= {*allowed}
    return [
        f"{key} {before.get(key)} -> {after.get(key)}"
        for key in sorted(before.keys() | after.keys())
        if key not in skipped and same_before.get(key) != same_after.get(key)
    ]


def in_one_form(keys: dict[str, Any]) -> dict[str, Any]:
    """The same recipe, whatever the words: without the place where own data lies, overrides without free
    keys, and a warm-up in iterations if it can be told.

    Args:
        keys: values by dotted key.
    """
    keys = dict(keys)
    for key in OWN_DATA_KEYS:
        if key in keys:
            names = keys[key]
            keys[key] = _placeless(names) if isinstance(names, str) else list(map(_placeless, names or ()))
    overrides = keys.get("MMT.SOURCE.OPTS") or []
    pairs = zip(overrides[::2], overrides[1::2], strict=False)
    keys["MMT.SOURCE.OPTS"] = [word for pair in pairs if pair[0] not in FREE_KEYS for word in pair]
    epochs, iterations = keys.get("SOLVER.WARMUP_EPOCHS", 0), keys.get("SOLVER.ITERS_PER_EPOCH", 0)
    if epochs and iterations:
        keys["SOLVER.WARMUP_ITERS"], keys["SOLVER.WARMUP_EPOCHS"] = round(epochs * iterations), 0.0
    return keys


def in_its_time(cfg: CfgNode) -> CfgNode:
    """The configuration with which the run in OUTPUT_DIR goes on: keys that it was made before have their
    defaults, whatever today's recipe sets, and its warm-up stays in iterations.
    """
    path = Path(cfg.OUTPUT_DIR, CONFIG)
    if not path.is_file():
        return cfg
    recorded, defaults = flatten(read_mapping(path)), flatten(_defaults())
    asked = flatten(yaml.safe_load(cfg.dump()))
    newer = [
        key
        for key in defaults
        if key not in recorded and key not in FREE_KEYS and asked[key] != defaults[key]
    ]
    if not newer:
        return cfg
    values = [word for key in newer for word in (key, defaults[key])]
    if "SOLVER.WARMUP_EPOCHS" in newer:
        values += ["SOLVER.WARMUP_ITERS", recorded["SOLVER.WARMUP_ITERS"]]
    logger.info(f"{path} was written before there was {', '.join(newer)}: the run goes on without")
    cfg = cfg.clone()
    cfg.defrost()
    cfg.merge_from_list(values)
    cfg.freeze()
    return cfg


def _placeless(name: str) -> str:
    """folder:/data/crops -> folder:crops"""
    if not is_own(name):
        return name
    kind, _, path = name.partition(":")
    return f"{kind}:{Path(path).name}"


def check_allowed(keys: Sequence[str], resume: bool) -> None:
    """Refuse to allow the change of keys that do not exist, or of a run that is not resumed.

    Raises:
        ConfigError: naming the keys.
    """
    if keys and not resume:
        raise ConfigError(f"--allow-change {' '.join(keys)} is for a run that is resumed: add --resume")
    unknown = sorted({*keys} - flatten(_defaults()).keys())
    if unknown:
        raise ConfigError(f"--allow-change: there is no key {', '.join(unknown)}")


def _defaults() -> dict:
    cfg = get_cfg()
    add_mmt_config(cfg)
    return yaml.safe_load(cfg.dump())


def flatten(tree: dict, prefix: str = "") -> dict:
    """Nested config values by dotted key."""
    flat = {}
    for key, value in tree.items():
        flat.update(
            flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        )
    return flat
