"""DenseNet and DenseNet-IBN-a (Huang et al., CVPR 2017; Pan et al., ECCV 2018). Shapes: B batch."""

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from torch import Tensor, nn
from torchvision.models import densenet

from mmt_plugin.weights.backbones import fill_backbone
from mmt_plugin.weights.download import load_from_url

IBN_WEIGHTS = "https://github.com/XingangPan/IBN-Net/releases/download/v1.0/"
# MODEL.BACKBONE.DEPTH -> torchvision's model and its weights, and the file of published IBN-a weights.
DEPTHS = {
    "121x": (densenet.densenet121, densenet.DenseNet121_Weights, "densenet121_ibn_a-e4af5cc1.pth"),
    "169x": (densenet.densenet169, densenet.DenseNet169_Weights, "densenet169_ibn_a-9f32c161.pth"),
}
# IBN-a stands in every third layer of the first three blocks, where 60 % of the channels keep their BN.
IBN_BLOCKS, IBN_EVERY, BN_SHARE = 3, 3, 0.6


class InstanceBatchNorm(nn.Module):
    """BN on the first channels, instance normalisation on the rest: fastreid's IBN, the other way round."""

    def __init__(self, channels: int):
        super().__init__()
        self.shares = (int(channels * BN_SHARE), channels - int(channels * BN_SHARE))
        self.BN = nn.BatchNorm2d(self.shares[0])
        self.IN = nn.InstanceNorm2d(self.shares[1], affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise B x C x H x W."""
        batch_part, instance_part = x.split(self.shares, dim=1)
        return torch.cat([self.BN(batch_part.contiguous()), self.IN(instance_part.contiguous())], dim=1)


class DenseNet(nn.Module):
    """torchvision's DenseNet up to its last feature map, with the published codes' ReLU at the end."""

    def __init__(self, features: nn.Sequential, with_ibn: bool, last_stride: int):
        """
        Args:
            features: of a torchvision DenseNet.
            with_ibn: whether to use IBN-a.
            last_stride: 2 as published, or 1 to keep the resolution before the last block.
        """
        super().__init__()
        self.features = features
        if last_stride == 1:
            features.transition3.pool = nn.Identity()
        for block in range(1, IBN_BLOCKS + 1 if with_ibn else 1):
            layers = list(getattr(features, f"denseblock{block}").children())
            for layer in layers[::IBN_EVERY]:
                layer.norm1 = InstanceBatchNorm(layer.norm1.num_features)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images, B x 3 x H x W -> B x C x h x w."""
        return F.relu(self.features(images))


@BACKBONE_REGISTRY.register()
def build_densenet_backbone(cfg: CfgNode) -> DenseNet:
    """DenseNet from MODEL.BACKBONE: DEPTH 121x or 169x, WITH_IBN, LAST_STRIDE, NORM (BN or syncBN), PRETRAIN.

    With PRETRAIN, ImageNet weights are downloaded, IBN-Net's for WITH_IBN, else torchvision's; a file that
    PRETRAIN_PATH names is loaded by whoever builds a backbone from a configuration.

    Raises:
        ValueError: naming the key, if DEPTH or NORM is none of those.
        PretrainedError: the weights are not there, or do not fit.
    """
    backbone = cfg.MODEL.BACKBONE
    if backbone.DEPTH not in DEPTHS:
        raise ValueError(f"MODEL.BACKBONE.DEPTH is {backbone.DEPTH!r}; choose one of {', '.join(DEPTHS)}")
    if backbone.NORM not in ("BN", "syncBN"):
        raise ValueError(f"MODEL.BACKBONE.NORM is {backbone.NORM!r}; a DenseNet has BN or syncBN")
    make, torchvision_weights, ibn_file = DEPTHS[backbone.DEPTH]
    model = DenseNet(make().features, backbone.WITH_IBN, backbone.LAST_STRIDE)
    if backbone.PRETRAIN:
        url = IBN_WEIGHTS + ibn_file if backbone.WITH_IBN else torchvision_weights.IMAGENET1K_V1.url
        fill_backbone(model, load_from_url(url, check_hash=True), url, backbone.NAME)
    return nn.SyncBatchNorm.convert_sync_batchnorm(model) if backbone.NORM == "syncBN" else model
