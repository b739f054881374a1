"""Models: inputs left alone, backbones that can be built from anywhere and in any order.

B images in a batch.
"""

from functools import wraps
from pathlib import Path

import fastreid
import torch
from fastreid.layers.any_softmax import ArcSoftmax
from fastreid.modeling.backbones import resnext
from fastreid.modeling.backbones.regnet import config as regnet_config
from fastreid.modeling.meta_arch import MGN, Baseline

from . import parts
from .patching import replace, temporarily


def normalise_out_of_place() -> None:
    """Without it the forward normalises the caller's images in place: the flipped half of TEST.FLIP, and
    every further network that sees the batch, gets images normalised twice.
    """
    for architecture in (Baseline, MGN):
        replace(architecture, "preprocess_image", lambda _: _preprocess_image)


def _preprocess_image(self, batched_inputs: dict | torch.Tensor) -> torch.Tensor:
    """The batch's images (B x 3 x H x W, RGB in [0, 255]), normalised, on the model's device."""
    images = batched_inputs["images"] if isinstance(batched_inputs, dict) else batched_inputs
    if not isinstance(images, torch.Tensor):
        raise TypeError(f"a model takes a batch with 'images', or images, not {type(images).__name__}")
    return (images.to(self.device) - self.pixel_mean) / self.pixel_std


def keep_arc_softmax_finite() -> None:
    """Without it a cosine that rounding lifts above 1 makes the loss NaN, one of exactly 1 its gradient."""

    def make(forward):
        @wraps(forward)
        def clamped(self, logits, targets):
            limit = 1 - torch.finfo(logits.dtype).eps
            return forward(self, logits.clamp(-limit, limit), targets)

        return clamped

    replace(ArcSoftmax, "forward", make)


def build_regnet_from_anywhere() -> None:
    """Without it RegNet and EfficientNet can only be built with fastreid's repository as the working
    directory, and inherit settings, such as squeeze-and-excitation, from the one built before.
    """
    settings = regnet_config.cfg
    defaults = settings.clone()
    root = Path(fastreid.__file__).parents[1]

    def merge_from_file(name: str) -> None:
        settings.merge_from_other_cfg(defaults)
        type(settings).merge_from_file(settings, str(root / name))

    # A config node takes no attribute that is not a setting.
    vars(settings)["merge_from_file"] = merge_from_file


def build_resnext_152() -> None:
    """Without it ResNeXt 152x is a KeyError: the host's table of non-local layers lacks it."""

    def make(build_resnext_backbone):
        @wraps(build_resnext_backbone)
        def build_any_depth(cfg):
            if cfg.MODEL.BACKBONE.DEPTH != "152x":
                return build_resnext_backbone(cfg)
            if cfg.MODEL.BACKBONE.PRETRAIN and not cfg.MODEL.BACKBONE.PRETRAIN_PATH:
                raise parts.given.PretrainedError(
                    "ResNeXt 152x has no weights to download: set MODEL.BACKBONE.PRETRAIN_PATH"
                )
            cfg = cfg.clone()
            cfg.defrost()
            cfg.MODEL.BACKBONE.DEPTH = "101x"
            with temporarily(resnext.ResNeXt, "__init__", _with_152_layers(resnext.ResNeXt.__init__)):
                return build_resnext_backbone(cfg)

        return build_any_depth

    replace(resnext, "build_resnext_backbone", make)


def _with_152_layers(init):
    @wraps(init)
    def initialise(self, last_stride, bn_norm, with_ibn, with_nl, block, _layers, non_layers):
        init(self, last_stride, bn_norm, with_ibn, with_nl, block, [3, 8, 36, 3], non_layers)

    return initialise


REPAIRS = (
    normalise_out_of_place,
    keep_arc_softmax_finite,
    build_regnet_from_anywhere,
    build_resnext_152,
)
