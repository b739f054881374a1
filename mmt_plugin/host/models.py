"""Models: inputs left alone, backbones that can be built from anywhere and in any order.

B images in a batch.
"""

from functools import wraps
from pathlib import Path

import fastreid
import torch
from fastreid.layers.any_softmax import ArcSoftmax, CosSoftmax
from fastreid.modeling.backbones import resnext
from fastreid.modeling.backbones.regnet import config as regnet_config
from fastreid.modeling.backbones.vision_transformer import VisionTransformer
from fastreid.modeling.meta_arch import MGN, Baseline
from torch.func import functional_call

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


def subtract_cosine_margins_without_waiting() -> None:
    """Without it CosSoftmax asks a GPU which targets are -1: every step waits for the answer."""
    replace(CosSoftmax, "forward", lambda _: _with_cosine_margin)


def _with_cosine_margin(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """s (cos(theta) - m) for the true class, s cos(theta) for others and in rows whose target is -1."""
    margins = (self.m * (targets != -1)).to(logits.dtype)[:, None]
    logits -= torch.zeros_like(logits).scatter_(1, targets.clamp(min=0)[:, None], margins)
    return logits.mul_(self.s)


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


def use_vision_transformers_on_any_size() -> None:
    """Without it a vision transformer that meets images of another size than it was built for, as with a
    SIZE_TEST that is not SIZE_TRAIN, ends in an AssertionError.
    """
    replace(VisionTransformer, "forward", _resizing_positions)


def _resizing_positions(forward):
    @wraps(forward)
    def forward_any_size(self, x, camera_id=None):
        patches, size = self.patch_embed, tuple(x.shape[-2:])
        if size == tuple(patches.img_size):
            return forward(self, x, camera_id)
        steps = zip(size, patches.patch_size, patches.proj.stride, strict=True)
        grid = tuple((length - patch) // stride + 1 for length, patch, stride in steps)
        built_for = (patches.num_y, patches.num_x)
        positions = parts.given.resize_positions(self.pos_embed, grid, old_grid=built_for)
        with temporarily(patches, "img_size", size):
            return functional_call(self, {"pos_embed": positions}, (x, camera_id))

    return forward_any_size


def keep_batch_norm_in_the_last_layer_of_resnext_ibn() -> None:
    """Without it ResNeXt-IBN has IBN in its last layer, too, where the published networks
    (XingangPan/IBN-Net) have plain BN: their ImageNet weights do not fit.
    """

    def make(init):
        @wraps(init)
        def initialise(self, inplanes, planes, bn_norm, with_ibn, *args, **kwargs):
            init(self, inplanes, planes, bn_norm, with_ibn and planes < 512, *args, **kwargs)

        return initialise

    replace(resnext.Bottleneck, "__init__", make)


REPAIRS = (
    normalise_out_of_place,
    keep_arc_softmax_finite,
    subtract_cosine_margins_without_waiting,
    build_regnet_from_anywhere,
    build_resnext_152,
    use_vision_transformers_on_any_size,
    keep_batch_norm_in_the_last_layer_of_resnext_ibn,
)
