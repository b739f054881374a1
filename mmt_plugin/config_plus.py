"""What the keys of MMT+ demand of each other: joint label space, BN by domain and chunk, MoCo, margins."""

from fastreid.config import CfgNode
from fastreid.layers import any_softmax

CLASSIFIERS = ("Linear", "CosSoftmax", "ArcSoftmax", "ArcMarginSoftmax", "CircleSoftmax")


def plus_rules(cfg: CfgNode) -> list[tuple[bool, str]]:
    """Each rule: whether it holds, and the sentence to say where it does not."""
    return [*_joint_rules(cfg), *_normalisation_rules(cfg), *_loss_rules(cfg)]


def source_batch_size(cfg: CfgNode) -> int:
    """Source images of a joint batch."""
    return cfg.MMT.JOINT.IMS_PER_BATCH or cfg.SOLVER.IMS_PER_BATCH


def _joint_rules(cfg: CfgNode) -> list[tuple[bool, str]]:
    joint, k = cfg.MMT.JOINT, cfg.DATALOADER.NUM_INSTANCE
    both = sorted(set(cfg.DATASETS.NAMES) & set(cfg.DATASETS.TARGETS))
    return [
        (
            joint.ROWS in ("pretrained", "centroids", "random"),
            f"MMT.JOINT.ROWS is {joint.ROWS!r}; choose one of pretrained, centroids, random",
        ),
        (
            joint.IMS_PER_BATCH >= 0 and (k <= 0 or source_batch_size(cfg) % k == 0),
            f"MMT.JOINT.IMS_PER_BATCH is {joint.IMS_PER_BATCH}; it must be 0 or a multiple of "
            f"DATALOADER.NUM_INSTANCE, which is {k}",
        ),
        (
            not joint.ENABLED or cfg.DATASETS.NAMES,
            "MMT.JOINT.ENABLED needs a labelled source, but DATASETS.NAMES is empty",
        ),
        (
            not joint.ENABLED or not both,
            f"{', '.join(both)}: in DATASETS.NAMES and in DATASETS.TARGETS. A joint label space would hold "
            "the labels of the target",
        ),
        (
            not joint.ENABLED or cfg.PSEUDO_LABELS.METHOD != "ground_truth",
            "MMT.JOINT.ENABLED adds source classes to clusters, but PSEUDO_LABELS.METHOD 'ground_truth' "
            "makes no clusters",
        ),
        (
            not joint.ENABLED or joint.ROWS != "pretrained" or cfg.MMT.WEIGHTS or cfg.MMT.SOURCE.PRETRAIN,
            "MMT.JOINT.ROWS is 'pretrained', but there is no source model (MMT.SOURCE.PRETRAIN False, "
            "MMT.WEIGHTS empty): choose 'centroids' or 'random'",
        ),
        (
            not (joint.ENABLED and cfg.MMT.TARGET_BN),
            "MMT.TARGET_BN is for source pre-training; with MMT.JOINT.ENABLED target images are trained on",
        ),
    ]


def _normalisation_rules(cfg: CfgNode) -> list[tuple[bool, str]]:
    mmt, chunk = cfg.MMT, cfg.MMT.IMAGES_PER_BN
    batches = {"SOLVER.IMS_PER_BATCH": cfg.SOLVER.IMS_PER_BATCH}
    if mmt.JOINT.ENABLED:
        batches["MMT.JOINT.IMS_PER_BATCH"] = source_batch_size(cfg)
    return [
        (
            not mmt.DSBN.ENABLED or mmt.JOINT.ENABLED,
            "MMT.DSBN.ENABLED needs images of both domains in a batch: set MMT.JOINT.ENABLED True, too",
        ),
        (chunk >= 0 and chunk != 1, f"MMT.IMAGES_PER_BN is {chunk}; choose 0 or at least 2"),
        *(
            (
                chunk <= 1 or size <= chunk or size % chunk == 0,
                f"{key} is {size}, which cannot be cut into BN groups of {chunk} (MMT.IMAGES_PER_BN)",
            )
            for key, size in batches.items()
        ),
        (
            mmt.EMA.BN_STATISTICS in ("own", "student"),
            f"MMT.EMA.BN_STATISTICS is {mmt.EMA.BN_STATISTICS!r}; choose 'own' or 'student'",
        ),
    ]


def _loss_rules(cfg: CfgNode) -> list[tuple[bool, str]]:
    mmt, moco, classifier = cfg.MMT, cfg.MMT.MOCO, cfg.MODEL.HEADS.CLS_LAYER
    return [
        (mmt.TRIPLET_WEIGHT >= 0, f"MMT.TRIPLET_WEIGHT is {mmt.TRIPLET_WEIGHT}; it must not be negative"),
        (moco.WEIGHT >= 0, f"MMT.MOCO.WEIGHT is {moco.WEIGHT}; it must not be negative"),
        (moco.TEMPERATURE > 0, f"MMT.MOCO.TEMPERATURE is {moco.TEMPERATURE}; it must be positive"),
        (moco.QUEUE_SIZE >= 1, f"MMT.MOCO.QUEUE_SIZE is {moco.QUEUE_SIZE}; it must be at least 1"),
        (
            moco.DOMAINS in ("target", "both"),
            f"MMT.MOCO.DOMAINS is {moco.DOMAINS!r}; choose 'target' or 'both'",
        ),
        (
            moco.WEIGHT == 0 or mmt.EMA.ENABLED,
            "MMT.MOCO.WEIGHT is not 0, but the keys of the queue come from mean teachers: set "
            "MMT.EMA.ENABLED True, or the weight 0.0",
        ),
        (
            classifier in CLASSIFIERS and hasattr(any_softmax, classifier),
            f"MODEL.HEADS.CLS_LAYER is {classifier!r}; choose one of {', '.join(CLASSIFIERS)}",
        ),
    ]
