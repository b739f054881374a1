"""What a configuration can switch on that has a state, or draws random numbers: each feature by its keys,
over configs/synthetic/plaza2metro_mmt.yml.
"""

from mmt_plugin.config.checks import OPTIMIZERS

CLUSTERS = {"PSEUDO_LABELS__METHOD": "dbscan", "PSEUDO_LABELS__K1": 8, "PSEUDO_LABELS__DBSCAN__EPS": 0.7}
JOINT = {"MMT__JOINT__ENABLED": True, "MMT__JOINT__ROWS": "centroids"}
CLIP = {"SOLVER__CLIP_GRADIENTS__ENABLED": True}
SKIP_IMAGES = {"DATALOADER__ON_BAD_IMAGE": "skip", "DATALOADER__MAX_BAD_IMAGES": 0.3}
# A relative path is one below the test's own folder.
CACHE = {"DATALOADER__CACHE": "cache"}
FEATURES: dict[str, dict] = {
    # Solver
    **{f"optimiser {name}": {"SOLVER__OPT": name} for name in OPTIMIZERS},
    "moments kept when labels change": {"MMT__RESET_OPTIMIZER": False},
    "SGD with Nesterov's momentum": {
        "SOLVER__OPT": "SGD",
        "SOLVER__NESTEROV": True,
        "MMT__RESET_OPTIMIZER": False,
    },
    "steps": {"SOLVER__SCHED": "MultiStepLR", "SOLVER__STEPS": [1, 2]},
    "cosine": {"SOLVER__SCHED": "CosineAnnealingLR"},
    "delayed cosine": {"SOLVER__SCHED": "CosineAnnealingLR", "SOLVER__DELAY_EPOCHS": 1},
    "linear warm-up by iterations": {"SOLVER__WARMUP_ITERS": 3},
    "exponential warm-up by epochs": {
        "SOLVER__WARMUP_EPOCHS": 1.0,
        "SOLVER__WARMUP_STEP": "before_epoch",
        "SOLVER__WARMUP_METHOD": "exp",
    },
    "constant warm-up by epochs": {
        "SOLVER__WARMUP_EPOCHS": 2.0,
        "SOLVER__WARMUP_STEP": "after_epoch",
        "SOLVER__WARMUP_METHOD": "constant",
    },
    "rates of their own for heads and biases": {
        "SOLVER__HEADS_LR_FACTOR": 3.0,
        "SOLVER__BIAS_LR_FACTOR": 2.0,
        "SOLVER__WEIGHT_DECAY_BIAS": 0.0,
    },
    "frozen layers": {"MODEL__FREEZE_LAYERS": ["backbone"], "SOLVER__FREEZE_ITERS": 3},
    "clipping by norm": CLIP,
    "clipping by value": {**CLIP, "SOLVER__CLIP_GRADIENTS__CLIP_TYPE": "value"},
    "bfloat16": {"SOLVER__AMP__ENABLED": True},
    "skipped steps": {"SOLVER__ON_BAD_STEP": "skip"},
    # Networks
    "gradient checkpointing": {"MODEL__BACKBONE__GRADIENT_CHECKPOINTING": True},
    "channels last": {"MODEL__CHANNELS_LAST": True},
    "dropout": {"MODEL__HEADS__DROPOUT": 0.3},
    "BN statistics of chunks": {"MMT__IMAGES_PER_BN": 4},
    "learnt pooling": {"MODEL__HEADS__POOL_LAYER": "GeneralizedMeanPooling"},
    "an embedding": {"MODEL__HEADS__EMBEDDING_DIM": 16},
    # Images
    "an image cache": CACHE,
    "skipped images": SKIP_IMAGES,
    "automatic augmentation": {"INPUT__AUTOAUG__ENABLED": True, "INPUT__AUTOAUG__PROB": 0.5},
    "mixed augmentation": {"INPUT__AUGMIX__ENABLED": True, "INPUT__AUGMIX__PROB": 0.5},
    "colours, erasing, patches, affine maps": {
        "INPUT__CJ__ENABLED": True,
        "INPUT__REA__ENABLED": True,
        "INPUT__RPT__ENABLED": True,
        "INPUT__AFFINE__ENABLED": True,
    },
    "uniform batches": {"DATALOADER__BATCHES": "uniform", "MMT__TRIPLET_WEIGHT": 0.0},
    # Methods
    "no mean teachers": {"MMT__EMA__ENABLED": False},
    "averaged BN statistics": {"MMT__EMA__BN_STATISTICS": "student"},
    "one network": {"MMT__NUM_PAIRS": 1, "MMT__SOURCE__SEEDS": (1,)},
    "DBSCAN": CLUSTERS,
    "cameras in the distance": {**CLUSTERS, "PSEUDO_LABELS__CAMERA_AWARE__ENABLED": True},
    "joint batches": JOINT,
    "DSBN": {**JOINT, "MMT__DSBN__ENABLED": True},
    "MoCo": {"MMT__MOCO__WEIGHT": 0.1, "MMT__MOCO__QUEUE_SIZE": 20},
    "MMT+": {**JOINT, "MMT__DSBN__ENABLED": True, "MMT__MOCO__WEIGHT": 0.1, "MMT__MOCO__QUEUE_SIZE": 20},
    "a memory of clusters": {"MMT__CLASSIFIER": "memory"},
    "a memory of images": {"MMT__CLASSIFIER": "hybrid", "MMT__MEMORY__UPDATE": "teacher"},
    "the label-free choice": {"MMT__SELECTION__RULE": "stable", "DATASETS__TESTS": ()},
    "the choice by labels": {
        "MMT__SELECTION__RULE": "best",
        "MMT__SELECTION__DATASET": "SynthMetro",
        "TEST__EVAL_PERIOD": 1,
    },
    "BN statistics before an evaluation": {
        "TEST__EVAL_PERIOD": 1,
        "TEST__PRECISE_BN__ENABLED": True,
        "TEST__PRECISE_BN__DATASET": "SynthMetro",
    },
}
# What the suite runs, each as one run; `make soak` runs every feature alone, too.
TOGETHER = [
    [
        "frozen layers",
        "cosine",
        "exponential warm-up by epochs",
        "clipping by norm",
        "bfloat16",
        "gradient checkpointing",
        "moments kept when labels change",
        "DBSCAN",
    ],
    [
        "MMT+",
        "SGD with Nesterov's momentum",
        "skipped steps",
        "skipped images",
        "an image cache",
        "linear warm-up by iterations",
        "steps",
    ],
    [
        "optimiser Adagrad",
        "moments kept when labels change",
        "constant warm-up by epochs",
        "dropout",
        "averaged BN statistics",
        "clipping by value",
        "the label-free choice",
        "learnt pooling",
        "colours, erasing, patches, affine maps",
    ],
]


def keys_of(names: list[str]) -> dict:
    """The keys of several features at once.

    Raises:
        ValueError: two of them want different values.
    """
    keys: dict = {}
    for name in names:
        for key, value in FEATURES[name].items():
            if keys.setdefault(key, value) != value:
                raise ValueError(f"{name}: {key} is {keys[key]!r} already")
    return keys
