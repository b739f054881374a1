"""Frozen re-ID networks that tell how people relate to each other. Shapes: B batch, D feature size."""

import logging

import torch.nn.functional as F
from fastreid.config import CfgNode
from torch import Tensor, nn

from mmt_plugin.modeling import ReIDNetwork, build_network
from mmt_plugin.modeling.layers import DOMAINS, match_domains
from mmt_plugin.weights.load_network import inference_weights, load_network

logger = logging.getLogger("fastreid.mmt.sda")


class FrozenEncoder(nn.Module):
    """A re-ID network that never changes: evaluation mode for ever, no gradients of its weights.

    Gradients pass through it to the images.
    """

    def __init__(self, network: ReIDNetwork, image_size: tuple[int, int] | None = None):
        """
        Args:
            network: backbone and head.
            image_size: height and width that images are resized to first; None leaves them.
        """
        super().__init__()
        self.network = network.requires_grad_(False)
        self.image_size = image_size
        self.eval()

    def train(self, mode: bool = True) -> "FrozenEncoder":
        """Stays in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images B x 3 x H x W -> BNNeck features B x D, not normalised."""
        if self.image_size is not None and self.image_size != tuple(images.shape[-2:]):
            # As the encoder's own training images were resized.
            images = F.interpolate(images, self.image_size, mode="bicubic", antialias=True)
        return self.network(images)

    def load(self, path: str, domain: int) -> None:
        """Take over the inference network of a checkpoint, of this plugin or of fastreid's Baseline.

        Args:
            path: of the file.
            domain: whose branch of domain-specific BN is used, where the checkpoint has such.

        Raises:
            CheckpointError: the file is missing or unreadable, or anything but the classifier does not fit.
        """
        weights = match_domains(inference_weights(path, self.network), self.network, domain)
        given = {key: value for key, value in weights.items() if key.startswith(("backbone.", "heads."))}
        load_network(self.network, given, path, surplus_is_error=True)
        logger.info(f"Encoder of the {DOMAINS[domain]} domain: {path}")


def build_encoder(cfg: CfgNode) -> FrozenEncoder:
    """An encoder of MODEL.BACKBONE and MODEL.HEADS with ordinary BN, whose weights are still to be loaded."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MMT.DSBN.ENABLED, cfg.MMT.IMAGES_PER_BN = False, 0
    size = cfg.SDA.ENCODER_SIZE or cfg.INPUT.SIZE_TRAIN
    cfg.INPUT.SIZE_TRAIN = list(size)
    return FrozenEncoder(build_network(cfg), tuple(size))
