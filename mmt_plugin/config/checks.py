"""What values the keys may have: choices, least values, intervals; each rule once. What keys demand of each
other stands in `relations`.
"""

from collections.abc import Iterator, Sequence
from functools import reduce

import torch
from fastreid.config import CfgNode
from fastreid.layers import any_softmax

from mmt_plugin.data.datasets.own.options import option_rules
from mmt_plugin.errors import ConfigError
from mmt_plugin.modeling.losses.softmax_triplet import GRADIENTS
from mmt_plugin.pseudo_labels.choices import EPS_RULES, JACCARD_WEIGHTS, METHODS, OUTLIERS, SEARCHES

from .architecture import SDA, is_a
from .elements import element_rules
from .relations import (
    Rule,
    batches_rules,
    cache_rules,
    combineall_rules,
    evaluation_rules,
    joint_rules,
    labels_rules,
    objective_rules,
    own_data_rules,
    pairs_rules,
    schedule_rules,
)
from .translation import sda_rules

CLASSIFIERS = ("Linear", "CosSoftmax", "ArcSoftmax", "ArcMarginSoftmax", "CircleSoftmax")

# A function where parts of the user's may be registered later.
LABEL_CHOICES = {
    "PSEUDO_LABELS.METHOD": lambda: (*METHODS, "ground_truth"),
    "PSEUDO_LABELS.OUTLIERS": OUTLIERS,
    "PSEUDO_LABELS.JACCARD_WEIGHTS": JACCARD_WEIGHTS,
    "PSEUDO_LABELS.SEARCH": SEARCHES,
    "PSEUDO_LABELS.DBSCAN.EPS_RULE": EPS_RULES,
}
TRUST_CHOICES = {"SOLVER.ON_BAD_STEP": ("error", "skip"), "DATALOADER.ON_BAD_IMAGE": ("error", "skip")}
# torch's, but for those that step otherwise than after one backward pass, or take matrices only.
OPTIMIZERS = tuple(
    sorted(
        name
        for name, kind in vars(torch.optim).items()
        if isinstance(kind, type) and name not in ("Optimizer", "LBFGS", "SparseAdam", "Muon")
    )
)
SOLVER_CHOICES = {
    "SOLVER.OPT": OPTIMIZERS,
    "SOLVER.SCHED": ("MultiStepLR", "CosineAnnealingLR"),
    "SOLVER.WARMUP_METHOD": ("linear", "constant", "exp"),
    "SOLVER.WARMUP_STEP": ("iteration", "before_epoch", "after_epoch"),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": ("norm", "value"),
}
NETWORK_CHOICES = {"MODEL.BACKBONE.STEM_POOL": ("host", "padded")}
METHOD_CHOICES = {
    **NETWORK_CHOICES,
    **LABEL_CHOICES,
    **SOLVER_CHOICES,
    "MMT.SELECTION.RULE": ("last", "stable", "guarded", "best"),
    "MMT.JOINT.ROWS": ("pretrained", "centroids", "random"),
    "MMT.EMA.BN_STATISTICS": ("own", "student"),
    "MMT.MOCO.DOMAINS": ("target", "both"),
    "MMT.MEMORY.UPDATE": ("student", "teacher"),
    "MMT.TRIPLET_GRADIENT": GRADIENTS,
    "MODEL.BACKBONE.TOKENS": ("map", "class"),
    "MODEL.HEADS.CLS_LAYER": tuple(name for name in CLASSIFIERS if hasattr(any_softmax, name)),
    "INPUT.REA.VARIANT": ("mmt", "host"),
    "INPUT.AUTOAUG.VARIANT": ("mmt", "host"),
    "DATALOADER.BATCHES": ("pk", "uniform", "groups"),
    "MODEL.HEADS.NECK_FEAT": ("before", "after"),
}
SDA_CHOICES = {**NETWORK_CHOICES, "SDA.METHOD": ("sda", "spgan")}

EVERY_RUN_MINIMA = {
    "SOLVER.MAX_EPOCH": 1,
    "SOLVER.ITERS_PER_EPOCH": 0,
    "SOLVER.CHECKPOINT_KEEP": 0,
    "SOLVER.MAX_BAD_STEPS": 0,
    "TEST.EVAL_PERIOD": 0,
}
METHOD_MINIMA = {
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.WARMUP_EPOCHS": 0,
    "SOLVER.DELAY_EPOCHS": 0,
    "SOLVER.FREEZE_ITERS": 0,
    "SOLVER.WEIGHT_DECAY": 0,
    "MODEL.HEADS.EMBEDDING_DIM": 0,
    "MMT.NUM_PAIRS": 1,
    "MMT.TRIPLET_WEIGHT": 0,
    "MMT.MOCO.WEIGHT": 0,
    "MMT.MOCO.QUEUE_SIZE": 1,
    "MMT.MOCO.QUEUE_EPOCHS": 0,
    "PSEUDO_LABELS.K1": 1,
    "PSEUDO_LABELS.DBSCAN.MIN_SAMPLES": 1,
    "PSEUDO_LABELS.DBSCAN.AUTO_EPOCHS": 1,
    "PSEUDO_LABELS.CAMERA_AWARE.K1_INTRA": 1,
    "PSEUDO_LABELS.CAMERA_AWARE.K1_INTER": 1,
    "PSEUDO_LABELS.CAMERA_AWARE.K2_INTRA": 1,
    "PSEUDO_LABELS.CAMERA_AWARE.K2_INTER": 0,
    "PSEUDO_LABELS.KMEANS.NUM_CLUSTERS": 2,
    "PSEUDO_LABELS.KMEANS.NUM_ITERATIONS": 1,
    "PSEUDO_LABELS.KMEANS.NUM_RESTARTS": 1,
    "REPORT.SAMPLE": 1,
}
EVALUATION_MINIMA = {"TEST.TOP_K": 0, "TEST.GALLERY_DRAWS": 0}
SDA_MINIMA = {
    "SDA.GENERATOR.WIDTH": 1,
    "SDA.GENERATOR.BLOCKS": 1,
    "SDA.DISCRIMINATOR.WIDTH": 1,
    "SDA.DISCRIMINATOR.LAYERS": 1,
    "SDA.POOL_SIZE": 0,
    "SDA.CYCLE_WEIGHT": 0,
    "SDA.IDENTITY_WEIGHT": 0,
    "SDA.RELATION_WEIGHT": 0,
    "SDA.SELF_SIMILARITY.WEIGHT": 0,
    "SDA.SELF_SIMILARITY.START_EPOCH": 0,
    "SDA.DECAY_EPOCHS": 0,
    "SDA.SHEET.PERIOD": 0,
    "SDA.SHEET.IMAGES": 1,
}

# As a mathematician writes them; "inf" is no bound.
# Beyond the upper bounds memory ends, or numpy's seeds do.
EVERY_RUN_INTERVALS = {
    "SEED": "[0, 4294967295]",
    "SOLVER.IMS_PER_BATCH": "[1, 65536]",
    "DATALOADER.NUM_WORKERS": "[0, 1024]",
    "DATALOADER.MAX_BAD_IMAGES": "[0, 1)",
}
METHOD_INTERVALS = {
    "SOLVER.BASE_LR": "(0, inf)",
    "SOLVER.LAYER_DECAY": "(0, 1]",
    "SOLVER.GAMMA": "(0, inf)",
    "INPUT.FLIP.PROB": "[0, 1]",
    "INPUT.REA.PROB": "[0, 1]",
    "MMT.SOFT_CE_WEIGHT": "[0, 1]",
    "MMT.SOFT_TRI_WEIGHT": "[0, 1]",
    "MMT.EMA.ALPHA": "[0, 1)",
    "MMT.CE_EPSILON": "[0, 1)",
    "MMT.MOCO.TEMPERATURE": "(0, inf)",
    "MMT.MEMORY.TEMPERATURE": "(0, inf)",
    "MMT.MEMORY.MOMENTUM": "[0, 1)",
    "MODEL.HEADS.DROPOUT": "[0, 1)",
    "PSEUDO_LABELS.DBSCAN.RHO": "(0, 1]",
}
EVALUATION_INTERVALS = {
    "TEST.IMS_PER_BATCH": "[1, 65536]",
    "TEST.RERANK.LAMBDA": "[0, 1]",
    "TEST.CAMERA.WEIGHT": "[0, 1)",
}
EVALUATION_CHOICES = {"TEST.METRIC": ("cosine", "euclidean"), "TEST.RERANK.POWER": (1, 2)}
SDA_INTERVALS = {"SDA.SELF_SIMILARITY.MARGIN": "(0, 2]"}


def check_config(cfg: CfgNode) -> None:
    """Refuse combinations that cannot train, before any data is read.

    Raises:
        ConfigError: naming the keys and their values.
    """
    check_elements(cfg)
    if is_a(cfg, SDA):
        rules = [*_tables(cfg, SDA_CHOICES, SDA_MINIMA, SDA_INTERVALS), *sda_rules(cfg)]
    else:
        rules = [
            *_tables(cfg, METHOD_CHOICES, METHOD_MINIMA, METHOD_INTERVALS),
            *_evaluation(cfg),
            *pairs_rules(cfg),
            *objective_rules(cfg),
            *batches_rules(cfg),
            *labels_rules(cfg),
            *joint_rules(cfg),
            *combineall_rules(cfg),
            *schedule_rules(cfg),
        ]
    _refuse(
        [
            *_tables(cfg, TRUST_CHOICES, EVERY_RUN_MINIMA, EVERY_RUN_INTERVALS),
            *rules,
            *cache_rules(cfg),
            *own_data_rules(cfg),
        ]
    )


def check_elements(cfg: CfgNode) -> None:
    """Refuse lists that hold what they cannot, of any recipe.

    Raises:
        ConfigError: naming the keys and the elements.
    """
    _refuse([*element_rules(cfg)])


def check_evaluation(cfg: CfgNode) -> None:
    """Refuse values of TEST that cannot rank.

    Raises:
        ConfigError: naming the keys and their values.
    """
    check_elements(cfg)
    _refuse([*_evaluation(cfg), *option_rules(cfg)])


def _refuse(rules: Sequence[Rule]) -> None:
    problems = [message for holds, message in rules if not holds]
    if problems:
        raise ConfigError("\n".join(problems))


def _tables(cfg: CfgNode, choices: dict, minima: dict, intervals: dict) -> Iterator[Rule]:
    """The rules that tables state."""
    for key, choice in choices.items():
        value, accepted = _value(cfg, key), choice() if callable(choice) else choice
        yield value in accepted, f"{key} is {value!r}; choose one of {', '.join(map(str, accepted))}"
    for key, least in minima.items():
        value = _value(cfg, key)
        demand = f"be at least {least}" if least else "not be negative"
        yield value >= least, f"{key} is {value}; it must {demand}"
    for key, interval in intervals.items():
        value = _value(cfg, key)
        low, high = map(float, interval[1:-1].split(","))
        above = value >= low if interval[0] == "[" else value > low
        below = value <= high if interval[-1] == "]" else value < high
        demand = "be positive" if (low, high) == (0, float("inf")) else f"lie in {interval}"
        yield above and below, f"{key} is {value}; it must {demand}"


def _value(cfg: CfgNode, key: str) -> object:
    return reduce(lambda node, name: node[name], key.split("."), cfg)


def _evaluation(cfg: CfgNode) -> Iterator[Rule]:
    yield from _tables(cfg, EVALUATION_CHOICES, EVALUATION_MINIMA, EVALUATION_INTERVALS)
    yield from evaluation_rules(cfg)
