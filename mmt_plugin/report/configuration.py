"""The keys that decide most, and the whole configuration."""

from __future__ import annotations

from fastreid.config import CfgNode

from mmt_plugin.runs.run_files import CONFIG

from .blocks import Group, Section
from .collect import ReportedRun


def configuration_section(run: ReportedRun) -> Section:
    """The keys that matter, and all others folded away."""
    rows = [(what, key, _value(run.cfg, key)) for what, key in _keys(run.cfg)]
    full = run.config_text
    return Section(
        "configuration",
        "Configuration",
        "The keys that decide most. The whole configuration is below them.",
        [
            Group(header=("", "key", "value"), rows=rows, numeric=False),
            Group(title=CONFIG, preformatted=full),
        ],
    )


def _keys(cfg: CfgNode) -> list[tuple[str, str]]:
    """(what it is, key) of the keys that matter for this run."""
    keys = [
        ("source", "DATASETS.NAMES"),
        ("target", "DATASETS.TARGETS"),
        ("test sets", "DATASETS.TESTS"),
        ("backbone", "MODEL.BACKBONE.NAME"),
        ("its depth", "MODEL.BACKBONE.DEPTH"),
        ("image size", "INPUT.SIZE_TRAIN"),
        ("images a batch", "SOLVER.IMS_PER_BATCH"),
        ("images an identity", "DATALOADER.NUM_INSTANCE"),
        ("epochs", "SOLVER.MAX_EPOCH"),
        ("learning rate", "SOLVER.BASE_LR"),
        ("images per BN, 0: the whole batch", "MMT.IMAGES_PER_BN"),
        ("seed", "SEED"),
        ("labels", "PSEUDO_LABELS.METHOD"),
    ]
    method = cfg.PSEUDO_LABELS.METHOD
    if method == "dbscan":
        keys += [
            ("neighbours of the Jaccard distance", "PSEUDO_LABELS.K1"),
            ("its query expansion", "PSEUDO_LABELS.K2"),
            ("DBSCAN radius", "PSEUDO_LABELS.DBSCAN.EPS"),
            ("neighbours of a core image", "PSEUDO_LABELS.DBSCAN.MIN_SAMPLES"),
        ]
    elif method == "kmeans":
        keys.append(("clusters", "PSEUDO_LABELS.KMEANS.NUM_CLUSTERS"))
    if method == "ground_truth":
        return keys
    keys += [
        ("outliers", "PSEUDO_LABELS.OUTLIERS"),
        ("pairs of student and teacher", "MMT.NUM_PAIRS"),
        ("share of soft classification", "MMT.SOFT_CE_WEIGHT"),
        ("share of the soft triplet loss", "MMT.SOFT_TRI_WEIGHT"),
        ("mean teachers", "MMT.EMA.ENABLED"),
        ("their memory", "MMT.EMA.ALPHA"),
        ("source images in every batch", "MMT.JOINT.ENABLED"),
        ("domain-specific BN", "MMT.DSBN.ENABLED"),
        ("weight of MoCo", "MMT.MOCO.WEIGHT"),
        ("which model is used", "MMT.SELECTION.RULE"),
        ("source models", "MMT.WEIGHTS"),
    ]
    return keys


def _value(cfg: CfgNode, key: str) -> str:
    value = cfg
    for part in key.split("."):
        value = value[part]
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return str(value)
