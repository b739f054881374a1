"""Image translation behind one command: the source encoder where it is missing, then the generators."""

import json
import logging
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.utils import comm

from mmt_plugin.config.reads import recording
from mmt_plugin.engine.acceptance import accept, with_pretrained
from mmt_plugin.engine.pipeline import pretrain, source_config
from mmt_plugin.runs.recipe import check_allowed, in_its_time
from mmt_plugin.runs.record import make_folder, recorded_metrics
from mmt_plugin.runs.run import is_run
from mmt_plugin.runs.run_files import FINAL_MODEL, RESULTS
from mmt_plugin.system.files import replace_when_complete

from .translation_trainer import SDATrainer

logger = logging.getLogger("fastreid.mmt.sda")


def run(cfg: CfgNode, config_file: str, resume: bool, allow_change: Sequence[str] = ()) -> dict:
    """Pre-train the source encoder if none is named, then train the translation.

    Args:
        cfg: checked and frozen.
        config_file: where ``cfg`` came from; MMT.SOURCE.CONFIG_FILE is relative to it.
        resume: continue an interrupted run, or, with a larger SOLVER.MAX_EPOCH, a finished one.
        allow_change: keys that may have another value than the run was started with.

    Returns:
        The last epoch's losses; empty away from the main process.
    """
    check_allowed(allow_change, resume)
    if resume:
        cfg = in_its_time(cfg)
    if needs_encoder(cfg):

        def pretrain_encoder(cfg: CfgNode) -> None:
            cfg.SDA.SOURCE_ENCODER = pretrain(encoder_recipe(cfg, config_file), resume, allow_change)

        cfg = with_pretrained(cfg, SDATrainer, pretrain_encoder)
    return train(cfg, resume, allow_change)


def needs_encoder(cfg: CfgNode) -> bool:
    """Whether the source encoder is pre-trained before the translation."""
    return cfg.SDA.METHOD == "sda" and not cfg.SDA.SOURCE_ENCODER


def encoder_recipe(cfg: CfgNode, config_file: str) -> CfgNode:
    """The recipe MMT.SOURCE.CONFIG_FILE for F^s, at the size at which the encoders see images."""
    cfg = cfg.clone()
    cfg.defrost()
    size = list(cfg.SDA.ENCODER_SIZE or cfg.INPUT.SIZE_TRAIN)
    cfg.INPUT.SIZE_TRAIN, cfg.INPUT.SIZE_TEST = size, size
    return source_config(cfg, config_file, cfg.MMT.SOURCE.SEEDS[0])


def train(cfg: CfgNode, resume: bool, allow_change: Sequence[str] = ()) -> dict:
    """Train the translation. A run that is complete is not repeated: its recorded losses are returned."""
    if resume and (recorded := recorded_metrics(cfg)) is not None:
        return recorded
    make_folder(cfg)
    cfg = recording(cfg)
    start = time.perf_counter()
    with closing(SDATrainer(cfg, allow_change)) as trainer:
        trainer.resume_or_load(resume)
        accept(cfg, resumed=resume and is_run(cfg.OUTPUT_DIR))
        trainer.begin_record()
        trainer.train()
        losses = trainer.losses() if comm.is_main_process() else {}
    if comm.is_main_process():
        record = {
            "metrics": losses,
            "minutes": (time.perf_counter() - start) / 60,
            **({"changes": trainer.run_state.changes} if trainer.run_state.changes else {}),
            "selection": "the generators of the last epoch; no label of the target took part",
        }
        with replace_when_complete(str(Path(cfg.OUTPUT_DIR, RESULTS)), "w") as file:
            json.dump(record, file, indent=1)
    logger.info(f"Model: {Path(cfg.OUTPUT_DIR, FINAL_MODEL)}; tools/translate.py writes the translated set")
    return losses
