"""Whether a training that is built may begin: told before hours are spent."""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from tempfile import TemporaryDirectory

from fastreid.config import CfgNode

from mmt_plugin.config.reads import RecordingConfig, refuse_unread
from mmt_plugin.data.transforms import build_test_transform

from .evaluate_model import Settings, domain_of
from .trainer import MMTTrainer


def accept(cfg: RecordingConfig, resumed: bool = False) -> None:
    """Refuse keys of fastreid's that a run, whose trainer is built, will never read.

    Args:
        cfg: that the trainer was built with.
        resumed: whether the run has begun before: then the keys, which may be an earlier version's, are told
            and no more.

    Raises:
        ConfigError: naming the keys, and those that do it here.
    """
    read_for_evaluation(cfg)
    refuse_unread(cfg, strict=not resumed)


def read_for_evaluation(cfg: CfgNode) -> None:
    """Read what is read as soon as something is evaluated: in this run perhaps never, later by a tool."""
    Settings.from_config(cfg)
    build_test_transform(cfg)
    for name in cfg.DATASETS.TESTS or ("",):
        domain_of(name, cfg)
    _ = cfg.TEST.IMS_PER_BATCH  # the host's loader of test images does


def rehearse(cfg: CfgNode) -> None:
    """Build the adaptation before its source models are trained, and throw it away: what cannot be built, or
    is never read, is an error now and not after hours.

    Raises:
        UserError: whatever is wrong.
    """
    trial = cfg.clone()
    trial.defrost()
    trial.MODEL.DEVICE = "cpu"
    trial.MODEL.BACKBONE.PRETRAIN = False
    trial.DATALOADER.CACHE = ""  # filled by the run itself
    trial.REPORT.WANDB_PROJECT = ""
    with TemporaryDirectory() as folder, _quietly():
        trial.OUTPUT_DIR = folder
        trial.freeze()
        with closing(MMTTrainer(trial)):
            pass
    accept(cfg)


@contextmanager
def _quietly() -> Iterator[None]:
    """What is built twice is told once."""
    logger = logging.getLogger("fastreid")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
