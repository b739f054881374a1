"""Whether a training that is built may begin: told before hours are spent."""

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from tempfile import TemporaryDirectory

import yaml
from fastreid.config import CfgNode

from mmt_plugin.config.architecture import SDA, is_a
from mmt_plugin.config.reads import RecordingConfig, recording, refuse_unread
from mmt_plugin.data.transforms import build_test_transform
from mmt_plugin.runs.recipe import RESUME_FREE_KEYS, flatten
from mmt_plugin.runs.run import Run, is_run

from .evaluate_model import Settings, domain_of
from .resume.resumable_trainer import ResumableTrainer


def accept(cfg: RecordingConfig, resumed: bool = False) -> None:
    """Refuse keys of fastreid's that a run, whose trainer is built, will never read.

    Args:
        cfg: that the trainer was built with.
        resumed: whether OUTPUT_DIR holds this run: the keys that it was made with, perhaps by an earlier
            version, are then told and no more.

    Raises:
        ConfigError: naming the keys, and those that do it here.
    """
    if is_a(cfg, SDA):
        _ = cfg.DATASETS.TESTS  # of the source encoder; a translation is not evaluated
    else:
        read_for_evaluation(cfg)
    refuse_unread(cfg, _same_as_recorded(cfg) if resumed else ())


def _same_as_recorded(cfg: CfgNode) -> set[str]:
    """Keys whose values are those of the run in OUTPUT_DIR, or whose change means nothing to it."""
    before, now = (flatten(yaml.safe_load(text)) for text in (Run(cfg.OUTPUT_DIR).config_text, cfg.dump()))
    same = {key for key, value in now.items() if key in before and before[key] == value}
    return same | {*RESUME_FREE_KEYS}


def read_for_evaluation(cfg: CfgNode) -> None:
    """Read what is read as soon as something is evaluated: in this run perhaps never, later by a tool."""
    Settings.from_config(cfg)
    build_test_transform(cfg)
    for name in cfg.DATASETS.TESTS or ("",):
        domain_of(name, cfg)
    _ = cfg.TEST.IMS_PER_BATCH  # the host's loader of test images does


def rehearse(cfg: CfgNode, trainer: type[ResumableTrainer]) -> None:
    """Build a training before the source models that it needs are trained, and throw it away: what cannot be
    built, or is never read, is an error now and not after hours.

    Args:
        cfg: of the training.
        trainer: that is to train it.

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
        with closing(trainer(trial)):
            pass
    accept(cfg)


def with_pretrained(
    cfg: CfgNode, trainer: type[ResumableTrainer], pretrain: Callable[[CfgNode], None]
) -> CfgNode:
    """A training's configuration once what it starts from is pre-trained; a new run is rehearsed before.

    Args:
        cfg: of the training, frozen.
        trainer: that is to train it.
        pretrain: trains, and sets the keys that name what came of it.

    Raises:
        UserError: whatever is wrong with the training itself.
    """
    cfg = recording(cfg).clone()
    if not is_run(cfg.OUTPUT_DIR):
        rehearse(cfg, trainer)
    cfg.defrost()
    pretrain(cfg)
    cfg.freeze()
    return cfg


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
