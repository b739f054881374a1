"""What the keys of the method, and those of checkpoints and bad data, demand of each other."""

from fastreid.config import CfgNode

from mmt_plugin.pseudo_labels import METHODS


def method_rules(cfg: CfgNode) -> list[tuple[bool, str]]:
    """What holds for pairs, losses, batches and data, each with the sentence to say where it does not."""
    mmt, labels, batch, k = cfg.MMT, cfg.PSEUDO_LABELS, cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE
    clustered, methods = labels.METHOD != "ground_truth", (*METHODS, "ground_truth")
    return [
        (mmt.NUM_PAIRS >= 1, f"MMT.NUM_PAIRS is {mmt.NUM_PAIRS}; it must be at least 1"),
        (0 <= mmt.SOFT_CE_WEIGHT <= 1, f"MMT.SOFT_CE_WEIGHT is {mmt.SOFT_CE_WEIGHT}; it must lie in [0, 1]"),
        (
            0 <= mmt.SOFT_TRI_WEIGHT <= 1,
            f"MMT.SOFT_TRI_WEIGHT is {mmt.SOFT_TRI_WEIGHT}; it must lie in [0, 1]",
        ),
        (0 <= mmt.EMA.ALPHA < 1, f"MMT.EMA.ALPHA is {mmt.EMA.ALPHA}; it must lie in [0, 1)"),
        (0 <= mmt.CE_EPSILON < 1, f"MMT.CE_EPSILON is {mmt.CE_EPSILON}; it must lie in [0, 1)"),
        (
            0 <= cfg.MODEL.HEADS.DROPOUT < 1,
            f"MODEL.HEADS.DROPOUT is {cfg.MODEL.HEADS.DROPOUT}; it must lie in [0, 1)",
        ),
        (
            mmt.NUM_PAIRS > 1 or mmt.EMA.ENABLED or (mmt.SOFT_CE_WEIGHT == 0 and mmt.SOFT_TRI_WEIGHT == 0),
            "MMT.NUM_PAIRS is 1 and MMT.EMA.ENABLED is False, so nobody can give soft labels: "
            "set MMT.SOFT_CE_WEIGHT and MMT.SOFT_TRI_WEIGHT to 0.0",
        ),
        (
            k > 0 and batch > 0 and batch % k == 0,
            f"SOLVER.IMS_PER_BATCH is {batch}, not a multiple of DATALOADER.NUM_INSTANCE, which is {k}",
        ),
        (
            batch > k,
            f"SOLVER.IMS_PER_BATCH is {batch}: with {k} images an identity (DATALOADER.NUM_INSTANCE) it "
            "holds no negatives",
        ),
        (
            cfg.SOLVER.ITERS_PER_EPOCH >= 0,
            f"SOLVER.ITERS_PER_EPOCH is {cfg.SOLVER.ITERS_PER_EPOCH}; it must not be negative",
        ),
        (
            labels.METHOD in methods,
            f"PSEUDO_LABELS.METHOD is {labels.METHOD!r}; choose one of {', '.join(methods)}",
        ),
        (
            not clustered or cfg.DATASETS.TARGETS,
            "DATASETS.TARGETS is empty: name the target domain to be adapted to",
        ),
        (
            not mmt.TARGET_BN or cfg.DATASETS.TARGETS,
            "MMT.TARGET_BN needs a target domain, but DATASETS.TARGETS is empty",
        ),
        (
            not mmt.WEIGHTS or len(mmt.WEIGHTS) == mmt.NUM_PAIRS,
            f"MMT.WEIGHTS names {len(mmt.WEIGHTS)} checkpoints for {mmt.NUM_PAIRS} pairs (MMT.NUM_PAIRS); "
            "it needs one each",
        ),
        (
            len(mmt.WEIGHTS) < 2 or len(set(mmt.WEIGHTS)) == len(mmt.WEIGHTS) or not mmt.SOURCE.PRETRAIN,
            "MMT.WEIGHTS names the same checkpoint twice: two networks that start equal cannot teach each "
            "other anything (MMT.SOURCE.PRETRAIN False allows it: augmentation alone then tells them apart)",
        ),
        (
            not clustered
            or mmt.WEIGHTS
            or not mmt.SOURCE.PRETRAIN
            or (mmt.SOURCE.CONFIG_FILE and len(mmt.SOURCE.SEEDS) >= mmt.NUM_PAIRS),
            "MMT.WEIGHTS is empty, so source models must be pre-trained: set MMT.SOURCE.CONFIG_FILE and "
            "give MMT.SOURCE.SEEDS "
            "one seed per pair, name checkpoints in MMT.WEIGHTS, or set MMT.SOURCE.PRETRAIN False",
        ),
        (
            len(set(mmt.SOURCE.SEEDS)) == len(mmt.SOURCE.SEEDS),
            f"MMT.SOURCE.SEEDS is {tuple(mmt.SOURCE.SEEDS)}: equal seeds give equal networks, which cannot "
            "teach each other",
        ),
        (
            mmt.SELECTION.RULE in ("last", "stable", "best"),
            f"MMT.SELECTION.RULE is {mmt.SELECTION.RULE!r}; choose 'last', 'stable' or 'best'",
        ),
        (
            mmt.SELECTION.RULE != "stable" or clustered,
            "MMT.SELECTION.RULE 'stable' compares clusterings, but PSEUDO_LABELS.METHOD 'ground_truth' makes "
            "none",
        ),
        (
            mmt.SELECTION.RULE != "best" or mmt.SELECTION.DATASET in cfg.DATASETS.TESTS,
            "MMT.SELECTION.RULE 'best' needs a labelled MMT.SELECTION.DATASET that DATASETS.TESTS "
            "evaluates; "
            f"it is {mmt.SELECTION.DATASET!r}, DATASETS.TESTS is {tuple(cfg.DATASETS.TESTS)}",
        ),
        (
            cfg.INPUT.REA.VARIANT in ("mmt", "host"),
            f"INPUT.REA.VARIANT is {cfg.INPUT.REA.VARIANT!r}; choose 'mmt' or 'host'",
        ),
        (
            cfg.INPUT.AUTOAUG.VARIANT in ("mmt", "host"),
            f"INPUT.AUTOAUG.VARIANT is {cfg.INPUT.AUTOAUG.VARIANT!r}; choose 'mmt' or 'host'",
        ),
    ]


def trust_rules(cfg: CfgNode) -> list[tuple[bool, str]]:
    """What holds for checkpoints, bad images and bad steps."""
    solver, loader = cfg.SOLVER, cfg.DATALOADER
    choices = {"SOLVER.ON_BAD_STEP": solver.ON_BAD_STEP, "DATALOADER.ON_BAD_IMAGE": loader.ON_BAD_IMAGE}
    minima = {"CHECKPOINT_KEEP": solver.CHECKPOINT_KEEP, "MAX_BAD_STEPS": solver.MAX_BAD_STEPS}
    return [
        *(
            (value in ("error", "skip"), f"{key} is {value!r}; choose 'error' or 'skip'")
            for key, value in choices.items()
        ),
        *((value >= 0, f"SOLVER.{key} is {value}; it must not be negative") for key, value in minima.items()),
        (
            0 <= loader.MAX_BAD_IMAGES < 1,
            f"DATALOADER.MAX_BAD_IMAGES is {loader.MAX_BAD_IMAGES}; it is a share, in [0, 1)",
        ),
    ]
