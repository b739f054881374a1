"""A trained model, as a configuration and its MODEL.WEIGHTS say."""

import logging

from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import build_model
from torch import nn

from mmt_plugin.config import ConfigError
from mmt_plugin.config.architecture import MMT, is_a
from mmt_plugin.system.memory import keep_freed_memory
from mmt_plugin.weights.load_network import load_model

from .resume.checkpointer import MMTCheckpointer

logger = logging.getLogger("fastreid.mmt")
# In MODEL.WEIGHTS: the networks as a training would start, that is, the weights of MODEL.BACKBONE.PRETRAIN.
PRETRAINED = "pretrained"


def load_for_evaluation(cfg: CfgNode) -> nn.Module:
    """Build the model and load MODEL.WEIGHTS into it: whole, or not at all.

    Raises:
        ConfigError: MODEL.WEIGHTS names no weights, or "pretrained" for a model that has more than those.
        CheckpointError: the file does not fit the configured model.
    """
    if not cfg.MODEL.WEIGHTS:
        raise ConfigError(
            "MODEL.WEIGHTS is empty, so a network of random numbers would be evaluated: name a checkpoint, "
            f"for instance MODEL.WEIGHTS logs/market2duke/model_final.pth, or {PRETRAINED} for the backbone "
            "as it is before any training (ImageNet)"
        )
    keep_freed_memory(cfg.MODEL.DEVICE)
    if cfg.MODEL.WEIGHTS == PRETRAINED:
        return _untrained(cfg)
    model = build_model(without_pretraining(cfg))
    if is_a(cfg, MMT):
        MMTCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    else:
        load_model(model, cfg.MODEL.WEIGHTS)
    return model


def without_pretraining(cfg: CfgNode) -> CfgNode:
    """The configuration of a model whose weights come from elsewhere."""
    return _with_pretraining(cfg, False)


def _untrained(cfg: CfgNode) -> nn.Module:
    if cfg.MODEL.HEADS.EMBEDDING_DIM > 0:
        raise ConfigError(
            f"MODEL.WEIGHTS is {PRETRAINED}, but MODEL.HEADS.EMBEDDING_DIM is "
            f"{cfg.MODEL.HEADS.EMBEDDING_DIM}: the embedding has no weights before it is trained. Set it 0"
        )
    logger.info("MODEL.WEIGHTS: the backbone's pre-trained weights, nothing of re-identification")
    return build_model(_with_pretraining(cfg, True))


def _with_pretraining(cfg: CfgNode, pretrain: bool) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN = pretrain
    return cfg
