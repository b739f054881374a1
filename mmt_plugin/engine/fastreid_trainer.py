"""Recipes of fastreid's own (Baseline and the like) with its own trainer, held to what every run is held to:
whole weights, keys that are read, and a recipe that stays the same when the run is resumed.
"""

from collections.abc import Sequence

import torch
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer
from torch import nn

from mmt_plugin.config.reads import recording
from mmt_plugin.runs.recipe import RESUME_FREE_KEYS, check_allowed, recipe_changes
from mmt_plugin.runs.record import record_recipe
from mmt_plugin.runs.run import Run, is_run
from mmt_plugin.weights.load_network import CheckpointError, load_model

from .acceptance import accept
from .evaluate_model import evaluate_networks


class FastreidTrainer(DefaultTrainer):
    """fastreid's own, whose models are evaluated, and start from weights, as all others do."""

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module) -> dict:
        return evaluate_networks(cfg, getattr(model, "module", model))[0]

    @staticmethod
    def auto_scale_hyperparams(cfg: CfgNode, num_classes: int) -> CfgNode:
        """Like fastreid's, but writes no file: config.yaml is written once the run is accepted."""
        if cfg.MODEL.HEADS.NUM_CLASSES == 0:
            cfg = cfg.clone()
            cfg.defrost()
            cfg.MODEL.HEADS.NUM_CLASSES = num_classes
            cfg.freeze()
        return cfg

    def resume_or_load(self, resume: bool = True) -> None:
        """Continue from OUTPUT_DIR's last checkpoint, or start from MODEL.WEIGHTS: whole, or not at all.

        Raises:
            CheckpointError: the weights do not fit.
        """
        if resume and self.checkpointer.has_checkpoint():
            super().resume_or_load(resume=True)
        elif self.cfg.MODEL.WEIGHTS:
            load_model(getattr(self.model, "module", self.model), self.cfg.MODEL.WEIGHTS)


def train_fastreids(cfg: CfgNode, resume: bool, allow_change: Sequence[str] = ()) -> dict | None:
    """Train a recipe of fastreid's own.

    Args:
        cfg: frozen.
        resume: continue an interrupted run.
        allow_change: keys that may have another value than the run was started with.

    Returns:
        The last evaluation's metrics, on the main process.

    Raises:
        ConfigError: keys that are never read, or that are to change in a run that is not resumed.
        CheckpointError: the run to be resumed is another one, or weights do not fit.
    """
    check_allowed(allow_change, resume)
    cfg = recording(cfg)
    resumed = resume and is_run(cfg.OUTPUT_DIR)
    if resumed:
        _check_same_recipe(cfg, allow_change)
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    trainer = FastreidTrainer(cfg)
    trainer.resume_or_load(resume)
    accept(cfg, resumed)
    record_recipe(cfg)
    return trainer.train()


def _check_same_recipe(cfg: CfgNode, allow_change: Sequence[str]) -> None:
    """Refuse a change that the state in the checkpoint would silently overrule, or half follow."""
    changes = recipe_changes(Run(cfg.OUTPUT_DIR).config_text, cfg.dump(), RESUME_FREE_KEYS, allow_change)
    if changes:
        raise CheckpointError(
            f"the run to be resumed has another recipe: {', '.join(changes[:5])}. Resume it with the values "
            "it was started with, or choose another OUTPUT_DIR"
        )
