"""One re-ID network: a host backbone and a head. Shapes: B batch, D feature size."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.heads import build_heads
from torch import Tensor, nn

from mmt_plugin.errors import ConfigError

from .backbones.stem import adapt_stem
from .gradient_checkpointing import checkpoint_blocks
from .layers import convert_batch_norm


class ReIDNetwork(nn.Module):
    """Backbone and head, named as in fastreid's Baseline, so that its state dict is a Baseline checkpoint."""

    def __init__(self, backbone: nn.Module, heads: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.heads = heads

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Tensor | dict[str, Tensor]:
        """Normalised images, B x 3 x H x W -> what the head returns."""
        return self.heads(self.backbone(images), targets)

    def update_bn_statistics(self, images: Tensor) -> None:
        """Let train-mode BN layers up to the BNNeck see a batch, and nothing else."""
        self.heads.embed(self.backbone(images))


def build_network(cfg: CfgNode) -> ReIDNetwork:
    """Build one network from MODEL.BACKBONE and MODEL.HEADS.

    With MODEL.BACKBONE.FEAT_DIM 0 the feature size is measured, so that another backbone needs no other key.
    Batch normalisation becomes what MMT.IMAGES_PER_BN and MMT.DSBN ask for once the backbone has its
    pre-trained weights.

    Raises:
        ConfigError: a value of MODEL that fastreid's parts do not know.
    """
    with _blamed_on("MODEL.BACKBONE", cfg.MODEL.BACKBONE, ("NAME", "DEPTH", "NORM")):
        backbone = build_backbone(cfg)
    adapt_stem(backbone, cfg.MODEL.BACKBONE)
    if cfg.MODEL.BACKBONE.FEAT_DIM == 0:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.BACKBONE.FEAT_DIM = measure_feature_size(backbone, cfg.INPUT.SIZE_TRAIN)
    if cfg.MODEL.BACKBONE.GRADIENT_CHECKPOINTING:
        checkpoint_blocks(backbone)
    with _blamed_on("MODEL.HEADS", cfg.MODEL.HEADS, ("NAME", "POOL_LAYER", "NORM", "NUM_CLASSES")):
        heads = build_heads(cfg)
    network = ReIDNetwork(backbone, heads)
    synchronised = any(isinstance(layer, nn.SyncBatchNorm) for layer in network.modules())
    if synchronised or cfg.MMT.IMAGES_PER_BN or cfg.MMT.DSBN.ENABLED:
        convert_batch_norm(
            network,
            chunk=cfg.MMT.IMAGES_PER_BN,
            domain_specific=cfg.MMT.DSBN.ENABLED,
            unfreeze=cfg.MMT.DSBN.UNFREEZE,
        )
    return network


@contextmanager
def _blamed_on(node: str, values: CfgNode, keys: tuple[str, ...]) -> Iterator[None]:
    """Name the keys that most likely hold what a part does not know: fastreid looks values up in dicts, and
    asserts.
    """
    try:
        yield
    except (KeyError, AssertionError, RuntimeError) as error:
        if isinstance(error, ConfigError):
            raise
        given = ", ".join(f"{key} {values[key]!r}" for key in keys if key in values)
        raise ConfigError(
            f"{node} cannot be built of {given}: {type(error).__name__}: {error}; --debug shows where"
        ) from error


@torch.no_grad()
def measure_feature_size(backbone: nn.Module, image_size: list[int]) -> int:
    """D of the feature maps that a backbone makes of images of (height, width)."""
    training = backbone.training
    features = backbone.eval()(torch.zeros(1, 3, *image_size))
    backbone.train(training)
    return features.shape[1]
