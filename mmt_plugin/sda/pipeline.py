"""Image translation behind one command: the source encoder where it is missing, then the generators."""

import json
import logging
import time
from contextlib import closing
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.utils import comm

from mmt_plugin.engine.pipeline import pretrain, source_config
from mmt_plugin.runs.files import FINAL_MODEL, RESULTS
from mmt_plugin.runs.record import record_recipe, recorded_metrics
from mmt_plugin.system.files import replace_when_complete

from .trainer import SDATrainer

logger = logging.getLogger("fastreid.mmt.sda")


def run(cfg: CfgNode, config_file: str, resume: bool) -> dict:
    """Pre-train the source encoder if none is named, then train the translation.

    Args:
        cfg: checked and frozen.
        config_file: where ``cfg`` came from; MMT.SOURCE.CONFIG_FILE is relative to it.
        resume: continue an interrupted run.

    Returns:
        The last epoch's losses; empty away from the main process.
    """
    if cfg.SDA.METHOD == "sda" and not cfg.SDA.SOURCE_ENCODER:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.SDA.SOURCE_ENCODER = pretrain(encoder_recipe(cfg, config_file), resume)
        cfg.freeze()
    return train(cfg, resume)


def encoder_recipe(cfg: CfgNode, config_file: str) -> CfgNode:
    """The recipe MMT.SOURCE.CONFIG_FILE for F^s, at the size at which the encoders see images."""
    cfg = cfg.clone()
    cfg.defrost()
    size = list(cfg.SDA.ENCODER_SIZE or cfg.INPUT.SIZE_TRAIN)
    cfg.INPUT.SIZE_TRAIN, cfg.INPUT.SIZE_TEST = size, size
    return source_config(cfg, config_file, cfg.MMT.SOURCE.SEEDS[0])


def train(cfg: CfgNode, resume: bool) -> dict:
    """Train the translation. A run that is complete is not repeated: its recorded losses are returned."""
    if resume and (recorded := recorded_metrics(cfg)) is not None:
        return recorded
    record_recipe(cfg)
    start = time.perf_counter()
    with closing(SDATrainer(cfg)) as trainer:
        trainer.resume_or_load(resume)
        trainer.train()
        losses = trainer.losses() if comm.is_main_process() else {}
    if comm.is_main_process():
        record = {
            "metrics": losses,
            "minutes": (time.perf_counter() - start) / 60,
            "selection": "the generators of the last epoch; no label of the target took part",
        }
        with replace_when_complete(str(Path(cfg.OUTPUT_DIR, RESULTS)), "w") as file:
            json.dump(record, file, indent=1)
    logger.info(f"Model: {Path(cfg.OUTPUT_DIR, FINAL_MODEL)}; tools/translate.py writes the translated set")
    return losses
