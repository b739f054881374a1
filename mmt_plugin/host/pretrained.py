"""ImageNet weights: read safely, complete or not at all."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from types import ModuleType
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import build
from fastreid.utils import checkpoint
from torch import nn

from . import parts
from .patching import Overlay, replace, temporarily

_DOWNLOADERS = ("osnet", "resnet", "resnext", "regnet.regnet", "regnet.effnet")


def load_pretrained_safely() -> None:
    """Without it torch < 2.6 runs whatever code a file of pretrained weights holds, weights saved on a GPU do
    not load without one, a file that fills half a backbone is trained on with a line in the log, each builder
    wants its file wrapped and named in another way, and one that loads nothing says nothing.
    """
    replace(build, "build_backbone", lambda _: _build_backbone)


def _build_backbone(cfg: CfgNode) -> nn.Module:
    """Build MODEL.BACKBONE.NAME, whoever registered it and when, with the weights that PRETRAIN asks for.

    Raises:
        PretrainedError: PRETRAIN is on, and the weights are not there, do not fit, or the builder knows none.
    """
    keys = cfg.MODEL.BACKBONE
    builder = build.BACKBONE_REGISTRY.get(keys.NAME)
    if not keys.PRETRAIN:
        return builder(cfg)
    if keys.PRETRAIN_PATH:
        backbone = builder(_with_backbone(cfg, type(keys)({**keys, "PRETRAIN": False})))
        parts.given.load_pretrained(backbone, keys.PRETRAIN_PATH, keys.NAME)
        return backbone
    read: set[str] = set()
    module = sys.modules.get(builder.__module__)
    with _loading_safely(module):
        backbone = builder(_with_backbone(cfg, _recording(keys, read)))
    if "PRETRAIN" not in read:
        raise parts.given.PretrainedError(
            f"MODEL.BACKBONE.PRETRAIN is True, but {keys.NAME} has no weights of its own: name a file with "
            " MODEL.BACKBONE.PRETRAIN_PATH, or set PRETRAIN False"
        )
    return backbone


def _with_backbone(cfg: CfgNode, backbone: CfgNode) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE = backbone
    cfg.freeze()
    return cfg


def _recording(keys: CfgNode, read: set[str]) -> CfgNode:
    """The same keys, which add their names to `read` when they are asked for."""

    class Recording(type(keys)):
        def __getattr__(self, name: str) -> Any:
            read.add(name)
            return super().__getattr__(name)

    return Recording(keys)


@contextmanager
def _loading_safely(module: ModuleType | None) -> Iterator[None]:
    """Have what a builder of the host loads read as data only, and complete. Only while building: forward
    functions keep the real torch.
    """
    given = parts.given
    hub = Overlay(torch.hub, load_state_dict_from_url=given.load_from_url)
    substitutes = {
        "torch": Overlay(torch, load=given.load_weights, hub=hub),
        "load_state_dict_from_url": given.load_from_url,
        "get_missing_parameters_message": _refuse_partial_weights,
    }
    with ExitStack() as stack:
        for name, substitute in substitutes.items():
            if hasattr(module, name):
                stack.enter_context(temporarily(module, name, substitute))
        yield


def _refuse_partial_weights(missing: list[str]) -> str:
    """Turn the host's report of missing weights into an error."""
    needed = [name for name in missing if parts.given.is_needed(name)]
    if needed:
        raise parts.given.PretrainedError(
            f"the downloaded file lacks {len(needed)} weights of the backbone, such as "
            f"{', '.join(needed[:3])}: it is of another network, or names its weights differently"
        )
    return checkpoint.get_missing_parameters_message(missing)


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
        raise _not_downloaded(url, path, reason)
    try:
        gdown.download(url, path, **kwargs)
    except Exception as error:  # gdown's own, and those of what it downloads with
        raise _not_downloaded(url, path, f"cannot be downloaded ({error})") from error
    if not os.path.exists(path):
        raise _not_downloaded(url, path, "cannot be downloaded")


def _not_downloaded(url: str, path: str, reason: str) -> Exception:
    return parts.given.PretrainedError(parts.given.put_it_there(url, path, reason))


REPAIRS = (load_pretrained_safely, need_gdown_only_to_download)
