"""ImageNet weights: read safely, complete or not at all."""

import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial, wraps
from types import ModuleType
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import build

from mmt_plugin.weights.backbones import PretrainedError, _is_needed, fill_backbone
from mmt_plugin.weights.download import _put_it_there, load_from_url
from mmt_plugin.weights.files import load_weights

from .patching import Overlay, replace, temporarily

logger = logging.getLogger("fastreid.mmt.pretrained")
_DOWNLOADERS = ("osnet", "resnet", "resnext", "regnet.regnet", "regnet.effnet")
# Its loader resizes the position embeddings to the images.
_OWN_LOADER = "build_vit_backbone"


def load_pretrained_safely() -> None:
    """Without it torch < 2.6 runs whatever code a file of pretrained weights holds, weights saved on a GPU do
    not load without one, a file that fills half a backbone is trained on with a line in the log, and each
    builder wants its file wrapped and named in another way.
    """
    for builder in list(build.BACKBONE_REGISTRY._obj_map.values()):
        replace(sys.modules[builder.__module__], builder.__name__, _loading_weights_only)


def _loading_weights_only(builder):
    module = sys.modules[builder.__module__]
    safe_torch = Overlay(
        torch, load=load_weights, hub=Overlay(torch.hub, load_state_dict_from_url=load_from_url)
    )
    if hasattr(module, "load_state_dict_from_url"):
        module.load_state_dict_from_url = load_from_url

    @wraps(builder)
    def build_backbone(cfg):
        path = cfg.MODEL.BACKBONE.PRETRAIN_PATH
        if cfg.MODEL.BACKBONE.PRETRAIN and path and builder.__name__ != _OWN_LOADER:
            weights = load_weights(path)
            backbone = builder(_without_pretraining(cfg))
            fill_backbone(backbone, weights, path, builder.__name__)
            return backbone
        # Only while building: the modules' forward functions keep the real torch.
        with temporarily(module, "torch", safe_torch), _refusing_partial_weights(module, cfg):
            return builder(cfg)

    return build_backbone


def _without_pretraining(cfg: CfgNode) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    return cfg


@contextmanager
def _refusing_partial_weights(module: ModuleType, cfg: CfgNode) -> Iterator[None]:
    """Turn the host's report of missing weights into an error."""
    report = getattr(module, "get_missing_parameters_message", None)
    if report is None:
        yield
        return
    path = cfg.MODEL.BACKBONE.PRETRAIN_PATH or "the downloaded file"

    def refuse(missing: list[str]) -> str:
        needed = list(filter(_is_needed, missing))
        if needed:
            raise PretrainedError(
                f"{path} (MODEL.BACKBONE.PRETRAIN_PATH) lacks {len(needed)} weights of the backbone, such as "
                f"{', '.join(needed[:3])}: it is of another network, or names its weights differently"
            )
        return report(missing)

    with temporarily(module, "get_missing_parameters_message", refuse):
        yield


def need_gdown_only_to_download() -> None:
    """Without it PRETRAIN without a path needs the package gdown even if the weights are in the cache
    already, and without a network it fails without saying which file to put where.
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
    before = {"gdown": sys.modules["gdown"]} if "gdown" in sys.modules else {}
    real = importlib.import_module("gdown") if importlib.util.find_spec("gdown") is not None else None
    sys.modules["gdown"] = ModuleType("gdown")
    sys.modules["gdown"].download = partial(_download, real)
    try:
        yield
    finally:
        del sys.modules["gdown"]
        sys.modules.update(before)


def _download(gdown: ModuleType | None, url: str, path: str, **kwargs: Any) -> None:
    """gdown's download, or an error that says which file to put where."""
    if gdown is None:
        reason = "cannot be downloaded without gdown (`pip install gdown`)"
        raise PretrainedError(_put_it_there(url, path, reason))
    try:
        gdown.download(url, path, **kwargs)
    except Exception as error:  # gdown's own, and those of what it downloads with
        raise PretrainedError(_put_it_there(url, path, f"cannot be downloaded ({error})")) from error
    if not os.path.exists(path):
        raise PretrainedError(_put_it_there(url, path, "cannot be downloaded"))


REPAIRS = (load_pretrained_safely, need_gdown_only_to_download)
