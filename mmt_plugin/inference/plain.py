"""A trained network in the host's own terms: configuration and weights of a fastreid Baseline."""

import torch
from fastreid.config import CfgNode, get_cfg
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmt_plugin.modeling.network import measure_feature_size
from mmt_plugin.weights.load_network import CLASSIFIER
from mmt_plugin.weights.stems import stem_of

from .inference_network import ExportError, PixelsToFeatures


def plain_config(cfg: CfgNode, feature_size: int) -> CfgNode:
    """The host's keys alone, for a Baseline of the same network and pre-processing, without a classifier.

    Args:
        cfg: of the run.
        feature_size: channels of the backbone's feature maps.
    """
    plain = get_cfg()
    _copy_known(cfg, plain)
    model = plain.MODEL
    model.META_ARCHITECTURE = "Baseline"
    model.BACKBONE.FEAT_DIM = feature_size
    model.BACKBONE.PRETRAIN, model.BACKBONE.PRETRAIN_PATH = False, ""
    model.HEADS.NAME, model.HEADS.NUM_CLASSES = "EmbeddingHead", 0
    model.HEADS.CLS_LAYER, model.HEADS.SCALE, model.HEADS.MARGIN = "Linear", 1, 0.0
    for node in (model.BACKBONE, model.HEADS):
        node.NORM = node.NORM.replace("syncBN", "BN")
    return plain


def _copy_known(given: CfgNode, known: CfgNode) -> None:
    for key, value in known.items():
        if isinstance(value, CfgNode):
            _copy_known(given[key], value)
        else:
            known[key] = given[key]


def plain_weights(model: PixelsToFeatures, cfg: CfgNode) -> tuple[dict[str, Tensor], CfgNode]:
    """State dict and configuration of the fastreid Baseline that gives a network's features.

    Args:
        model: with ordinary BN layers; a ResNet without a ReLU in its stem is changed in place.
        cfg: of its run.

    Raises:
        ExportError: the host has no such backbone.
    """
    backbone, name = model.network.backbone, cfg.MODEL.BACKBONE.NAME
    if not BACKBONE_REGISTRY.get(name).__module__.startswith("fastreid."):
        raise ExportError(
            f"MODEL.BACKBONE.NAME is {name}, which fastreid itself does not have: export safetensors, "
            "torchscript or onnx"
        )
    if stem_of(backbone).get("STEM_POOL") == "padded" and name == "build_resnet_backbone":
        raise ExportError(
            "MODEL.BACKBONE.STEM_POOL is padded, which fastreid's own ResNet cannot do and no weights can "
            "make up for: export safetensors, torchscript or onnx"
        )
    size = measure_feature_size(backbone, cfg.INPUT.SIZE_TEST)
    if isinstance(getattr(backbone, "relu", None), nn.Identity):
        absorb_missing_stem_relu(backbone, model.pixel_mean, model.pixel_std)
    weights = {key: value.detach().cpu().clone() for key, value in model.network.state_dict().items()}
    weights[CLASSIFIER] = weights[CLASSIFIER][:0].clone()
    return weights, plain_config(cfg, size)


@torch.no_grad()
def absorb_missing_stem_relu(backbone: nn.Module, pixel_mean: Tensor, pixel_std: Tensor) -> None:
    """Change a ResNet without a ReLU in its stem (MODEL.BACKBONE.STEM_RELU False), in place, so that it gives
    the same with one.

    The stem's BN is lifted until no image can make it negative, which leaves a ReLU nothing to do and
    commutes with the max pooling. The two 1 x 1 convolutions that follow carry the constant on, and the
    running means of their BN layers, raised by as much, take it away again.

    Args:
        backbone: a fastreid ResNet of bottleneck blocks with ordinary BN.
        pixel_mean, pixel_std: of the normalisation, 1 x 3 x 1 x 1, of pixels in 0-255.

    Raises:
        ExportError: blocks or BN layers are of other kinds.
    """
    block, stem = backbone.layer1[0], backbone.bn1
    norms = [block.bn1, block.downsample and block.downsample[1]]
    if block.conv1.kernel_size != (1, 1) or not all(isinstance(norm, _BatchNorm) for norm in (stem, *norms)):
        raise ExportError(
            "MODEL.BACKBONE.STEM_RELU is False; fastreid's ResNet always has that ReLU, which only one of "
            "50 and more layers, without IBN, can undo: export safetensors, torchscript or onnx"
        )
    darkest, brightest = (-pixel_mean / pixel_std).double(), ((255 - pixel_mean) / pixel_std).double()
    scale = stem.weight.double() / (stem.running_var.double() + stem.eps).sqrt()
    taps = backbone.conv1.weight.double() * scale.view(-1, 1, 1, 1)
    # Padding is 0, between the two.
    lowest = torch.minimum(taps * darkest, taps * brightest).sum(dim=(1, 2, 3))
    lift = (-(lowest - stem.running_mean * scale + stem.bias)).clamp(min=0)
    stem.bias += lift.float()
    for convolution, norm in zip((block.conv1, block.downsample[0]), norms, strict=True):
        norm.running_mean += (convolution.weight.double()[:, :, 0, 0] @ lift).float()
