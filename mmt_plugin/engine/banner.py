"""What a run is about to do, in a few lines at its start."""

import logging

from fastreid.config import CfgNode

from mmt_plugin.config import source_batch_size
from mmt_plugin.modeling.memory import queue_size
from mmt_plugin.runs.description import images_per_bn

logger = logging.getLogger("fastreid.mmt")


def ema_horizon(cfg: CfgNode) -> float:
    """Iterations after which a student's weight in its mean teacher has fallen to 1/e: 1 / (1 - alpha)."""
    return 1 / (1 - cfg.MMT.EMA.ALPHA)


def log_banner(cfg: CfgNode, num_images: int, iters_per_epoch: int) -> None:
    """Log the run's data, networks, BN group and EMA horizon; warn where they differ from the recipe or from
    the run's length.
    """
    method = cfg.PSEUDO_LABELS.METHOD
    domain = cfg.DATASETS.NAMES if method == "ground_truth" else cfg.DATASETS.TARGETS
    per_bn, iterations = images_per_bn(cfg), iters_per_epoch * cfg.SOLVER.MAX_EPOCH
    lines = [
        f"training on {', '.join(domain)}: {num_images} images, labels: {method}",
        f"{cfg.MMT.NUM_PAIRS} network(s) {cfg.MODEL.BACKBONE.NAME} {cfg.MODEL.BACKBONE.DEPTH}"
        f"{' with mean teachers' if cfg.MMT.EMA.ENABLED else ''}, device {cfg.MODEL.DEVICE}",
        f"soft weights: classification {cfg.MMT.SOFT_CE_WEIGHT}, triplet {cfg.MMT.SOFT_TRI_WEIGHT}",
        f"{cfg.SOLVER.MAX_EPOCH} epochs of {iters_per_epoch} iterations of {cfg.SOLVER.IMS_PER_BATCH} images",
        *_plus_lines(cfg),
        f"images per BN: {per_bn}{' of one domain' if cfg.MMT.DSBN.ENABLED else ''}",
        f"seed: {cfg.SEED}",
    ]
    if not cfg.DATASETS.TESTS:
        lines.append("no test set (DATASETS.TESTS is empty): no mAP, only what can be told without labels")
    if cfg.MMT.EMA.ENABLED:
        lines.append(f"EMA horizon: {ema_horizon(cfg):.0f} iterations of the run's {iterations}")
    logger.info("Mutual Mean-Teaching\n  " + "\n  ".join(lines))
    recipe = cfg.MMT.IMAGES_PER_BN
    if recipe and per_bn != recipe:
        logger.warning(
            f"images per BN: {per_bn}, but this recipe has {recipe} (MMT.IMAGES_PER_BN). BN statistics over "
            "another number of images give other results, often by several mAP; use fewer processes, more "
            "images, or syncBN in MODEL.BACKBONE.NORM and MODEL.HEADS.NORM, or expect a difference"
        )
    if cfg.MMT.EMA.ENABLED and ema_horizon(cfg) > iterations / 4:
        logger.warning(
            f"the mean teachers average over about {ema_horizon(cfg):.0f} iterations (MMT.EMA.ALPHA "
            f"{cfg.MMT.EMA.ALPHA}), the run "
            f"has {iterations}: the teachers will lag behind their students; lower MMT.EMA.ALPHA"
        )


def _plus_lines(cfg: CfgNode) -> list[str]:
    """What a run has of MMT+, a line each."""
    lines = []
    if cfg.MMT.JOINT.ENABLED:
        bn = "domain-specific BN" if cfg.MMT.DSBN.ENABLED else "BN layers common to both domains"
        lines.append(
            f"beside them {source_batch_size(cfg)} labelled images of {', '.join(cfg.DATASETS.NAMES)}; "
            f"their classes start from {cfg.MMT.JOINT.ROWS} rows; {bn}"
        )
    if cfg.MMT.MOCO.WEIGHT > 0:
        moco = cfg.MMT.MOCO
        domains = "both domains" if moco.DOMAINS == "both" else "the target"
        lines.append(
            f"MoCo on {domains}: weight {moco.WEIGHT}, {queue_size(cfg)} keys, temperature {moco.TEMPERATURE}"
        )
    if cfg.MODEL.HEADS.CLS_LAYER != "Linear":
        heads = cfg.MODEL.HEADS
        lines.append(f"classifier {heads.CLS_LAYER}: scale {heads.SCALE}, margin {heads.MARGIN}")
    return lines
