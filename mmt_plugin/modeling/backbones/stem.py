"""The stem of fastreid's ResNet, in which published networks of the same weights differ from it."""

import logging

from fastreid.config import CfgNode
from torch import nn

logger = logging.getLogger("fastreid.mmt.pretrained")


def adapt_stem(backbone: nn.Module, keys: CfgNode) -> None:
    """Give a ResNet the stem that MODEL.BACKBONE.STEM_RELU and STEM_POOL ask for, in place.

    fastreid pools its stem without padding; torchvision, IBN-Net and everything that starts from their
    ImageNet weights pad by one. Weights have the same names and shapes in both.

    Args:
        backbone: of any builder; only that of ResNets reads these keys.
        keys: MODEL.BACKBONE.
    """
    if keys.NAME != "build_resnet_backbone":
        return
    if not keys.STEM_RELU:
        backbone.relu = nn.Identity()
    if keys.STEM_POOL == "padded":
        backbone.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
    elif keys.PRETRAIN:
        logger.warning(
            "ImageNet weights of ResNets were trained with a padded pooling in the stem: "
            "MODEL.BACKBONE.STEM_POOL padded uses them as they are meant"
        )
