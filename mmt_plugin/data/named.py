"""Which data sets a configuration names."""

from ast import literal_eval
from collections.abc import Sequence

from fastreid.config import CfgNode

NAMES, TARGETS, TESTS = "DATASETS.NAMES", "DATASETS.TARGETS", "DATASETS.TESTS"
SOURCE_NAMES = "DATASETS.NAMES in MMT.SOURCE.OPTS"


def named_sets(cfg: CfgNode) -> dict[str, Sequence[str]]:
    """Every data set that a key names, by the key, whether or not a run will read it."""
    sets = {NAMES: cfg.DATASETS.NAMES, TARGETS: cfg.DATASETS.TARGETS, TESTS: cfg.DATASETS.TESTS}
    options = list(cfg.MMT.SOURCE.OPTS)
    if NAMES in options[:-1]:
        value = options[options.index(NAMES) + 1]
        sets[SOURCE_NAMES] = literal_eval(value) if isinstance(value, str) else value
    if cfg.MMT.SELECTION.RULE == "best":
        sets["MMT.SELECTION.DATASET"] = (cfg.MMT.SELECTION.DATASET,)
    if cfg.TEST.PRECISE_BN.ENABLED:
        sets["TEST.PRECISE_BN.DATASET"] = (cfg.TEST.PRECISE_BN.DATASET,)
    return sets
