"""What a run is about to do, in a few lines at its start."""

import logging

from fastreid.config import CfgNode
from fastreid.utils import comm

logger = logging.getLogger("fastreid.mmt")


def images_per_bn(cfg: CfgNode) -> int:
    """Images that share BN statistics: each process normalises its share of the batch on its own."""
    synchronised = "syncBN" in (cfg.MODEL.BACKBONE.NORM, cfg.MODEL.HEADS.NORM)
    return cfg.SOLVER.IMS_PER_BATCH // (1 if synchronised else comm.get_world_size())


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
        f"images per BN: {per_bn}",
        f"seed: {cfg.SEED}",
    ]
    if cfg.MMT.EMA.ENABLED:
        lines.append(f"EMA horizon: {ema_horizon(cfg):.0f} iterations of the run's {iterations}")
    logger.info("Mutual Mean-Teaching\n  " + "\n  ".join(lines))
    recipe = cfg.MMT.IMAGES_PER_BN
    if recipe and per_bn != recipe:
        logger.warning(
            f"images per BN: {per_bn}, but this recipe's published results have {recipe}. BN statistics "
            "over another number of "
            "images give other results, often by several mAP; use as many processes or images as the "
            "recipe, or expect a difference"
        )
    if cfg.MMT.EMA.ENABLED and ema_horizon(cfg) > iterations / 4:
        logger.warning(
            f"the mean teachers average over about {ema_horizon(cfg):.0f} iterations (MMT.EMA.ALPHA "
            f"{cfg.MMT.EMA.ALPHA}), the run "
            f"has {iterations}: the teachers will lag behind their students; lower MMT.EMA.ALPHA"
        )
