"""Models: inputs left alone, backbones that can be built from anywhere and in any order, weights that load.

B images in a batch.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import fastreid
import torch
from fastreid.config import CfgNode
from fastreid.layers.any_softmax import ArcSoftmax
from fastreid.modeling.backbones import build, resnext
from fastreid.modeling.backbones.regnet import config as regnet_config
from fastreid.modeling.meta_arch import MGN, Baseline

from .checkpoint import load_weights
from .patching import Overlay, replace, temporarily

_DOWNLOADERS = ("osnet", "resnet", "resnext", "regnet.regnet", "regnet.effnet")


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
                raise ValueError("ResNeXt 152x has no weights to download: set MODEL.BACKBONE.PRETRAIN_PATH")
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


def load_pretrained_safely() -> None:
    """Without it torch < 2.6 runs whatever code a file of pretrained weights holds, weights saved on a GPU do
    not load without one, and a file that fills half a backbone is trained on with a line in the log.
    """
    for builder in list(build.BACKBONE_REGISTRY._obj_map.values()):
        replace(sys.modules[builder.__module__], builder.__name__, _loading_weights_only)


def _loading_weights_only(builder):
    module = sys.modules[builder.__module__]
    from_url = partial(torch.hub.load_state_dict_from_url, map_location="cpu", weights_only=True)
    safe_torch = Overlay(torch, load=load_weights, hub=Overlay(torch.hub, load_state_dict_from_url=from_url))
    if hasattr(module, "load_state_dict_from_url"):
        module.load_state_dict_from_url = from_url

    @wraps(builder)
    def build_backbone(cfg):
        # Only while building: the modules' forward functions keep the real torch.
        with temporarily(module, "torch", safe_torch), _refusing_partial_weights(module, cfg):
            return builder(cfg)

    return build_backbone


@contextmanager
def _refusing_partial_weights(module: ModuleType, cfg: CfgNode) -> Iterator[None]:
    """Turn the host's report of missing weights into an error, but for layers that no classifier has."""
    report = getattr(module, "get_missing_parameters_message", None)
    if report is None:
        yield
        return
    path = cfg.MODEL.BACKBONE.PRETRAIN_PATH or "the downloaded file"

    def refuse(missing: list[str]) -> str:
        needed = [key for key in missing if not key.startswith("NL_") and "num_batches" not in key]
        if needed:
            raise ValueError(
                f"{path} (MODEL.BACKBONE.PRETRAIN_PATH) lacks {len(needed)} weights of the backbone, such as "
                f"{', '.join(needed[:3])}: it is of another network, or names its weights differently"
            )
        return report(missing)

    with temporarily(module, "get_missing_parameters_message", refuse):
        yield


def need_gdown_only_to_download() -> None:
    """Without it PRETRAIN without a path needs the package gdown even if the weights are in the cache
    already.
    """
    for name in _DOWNLOADERS:
        module = importlib.import_module(f"fastreid.modeling.backbones.{name}")
        replace(module, "init_pretrained_weights", _with_optional_gdown)


def _with_optional_gdown(init_pretrained_weights):
    @wraps(init_pretrained_weights)
    def init(*args: Any, **kwargs: Any):
        with _optional_gdown():
            return init_pretrained_weights(*args, **kwargs)

    return init


@contextmanager
def _optional_gdown() -> Iterator[None]:
    if importlib.util.find_spec("gdown") is not None:
        yield
        return
    absent = {"gdown": sys.modules["gdown"]} if "gdown" in sys.modules else {}
    sys.modules["gdown"] = ModuleType("gdown")
    sys.modules["gdown"].download = _refuse_to_download
    try:
        yield
    finally:
        del sys.modules["gdown"]
        sys.modules.update(absent)


def _refuse_to_download(url: str, path: str, **_: Any) -> None:
    raise ImportError(
        f"the pretrained weights {path} are missing and downloading {url} needs gdown: `pip install gdown`, "
        "or set MODEL.BACKBONE.PRETRAIN_PATH"
    )


REPAIRS = (
    normalise_out_of_place,
    keep_arc_softmax_finite,
    build_regnet_from_anywhere,
    build_resnext_152,
    load_pretrained_safely,
    need_gdown_only_to_download,
)
