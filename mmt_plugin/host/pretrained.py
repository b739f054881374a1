"""ImageNet weights: read safely, under the names of several projects, complete or not at all."""

import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial, wraps
from types import ModuleType
from typing import Any
from urllib.error import URLError

import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import build
from torch import Tensor, nn

from .checkpoint import load_weights
from .patching import Overlay, replace, temporarily
from .weight_names import LAYOUTS, OWN, PREFIXES, WRAPPERS, Layout, rename

logger = logging.getLogger("fastreid.mmt.pretrained")

_DOWNLOADERS = ("osnet", "resnet", "resnext", "regnet.regnet", "regnet.effnet")
# Its loader resizes the position embeddings to the images.
_OWN_LOADER = "build_vit_backbone"


class PretrainedError(ValueError):
    """Weights that are not there, or not of the backbone; the message names the file and says what to do."""


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


def fill_backbone(backbone: nn.Module, weights: Mapping, path: str, builder: str) -> None:
    """Load a file's weights into a backbone, whichever of the known projects named them, and say what was
    loaded and what was left over.

    Args:
        backbone: what the builder has made.
        weights: content of the file.
        path: of the file.
        builder: MODEL.BACKBONE.NAME.

    Raises:
        PretrainedError: weights of the backbone are missing, or have other shapes.
    """
    if not isinstance(weights, Mapping):
        kind = type(weights).__name__
        raise PretrainedError(f"{path} (MODEL.BACKBONE.PRETRAIN_PATH) holds a {kind}, not a dict of weights")
    own = backbone.state_dict()
    for wrapper in WRAPPERS:
        weights = weights[wrapper] if isinstance(weights.get(wrapper), Mapping) else weights
    layouts: dict[str, Layout] = {"its own": OWN, **LAYOUTS.get(builder, {})}
    candidates = [
        (project, _renamed(weights, prefix, renames))
        for project, renames in layouts.items()
        for prefix in PREFIXES
    ]
    project, given = max(candidates, key=lambda candidate: len(_fitting(own, candidate[1])))
    fitting = _fitting(own, given)
    lacking = [key for key in own if key not in fitting and _is_needed(key)]
    if lacking:
        reshaped = [
            f"{key} is {tuple(given[key].shape)}, not {tuple(own[key].shape)}"
            for key in lacking
            if key in given
        ]
        raise PretrainedError(
            f"{path} (MODEL.BACKBONE.PRETRAIN_PATH) lacks {len(lacking)} of the {len(own)} weights of the "
            f"backbone, such as {', '.join(lacking[:3])}{f' ({reshaped[0]})' if reshaped else ''}: it is of "
            "another network (MODEL.BACKBONE.NAME, DEPTH, WITH_IBN), or names its weights differently; names "
            f"that {builder} knows: {', '.join(layouts)}"
        )
    backbone.load_state_dict(fitting, strict=False)
    unused = [key for key in given if key not in fitting]
    logger.info(
        f"{path}: {len(fitting)} of the backbone's {len(own)} weights loaded, by the names of {project}; "
        f"{f'not used: {len(unused)}, such as {unused[:3]}' if unused else 'nothing is left over'}"
    )


def _renamed(weights: Mapping, prefix: str, renames: Layout) -> dict[str, Tensor]:
    return {
        rename(name.removeprefix(prefix), renames): value
        for name, value in weights.items()
        if isinstance(name, str) and name.startswith(prefix) and isinstance(value, Tensor)
    }


def _fitting(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in given.items() if key in own and own[key].shape == value.shape}


def _is_needed(key: str) -> bool:
    """Whether no classifier can do without a weight: not so non-local layers and counters of batches."""
    return not key.startswith("NL_") and "num_batches" not in key


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


def load_from_url(url: str, model_dir: str | None = None, **kwargs: Any) -> dict[str, Tensor]:
    """`torch.hub.load_state_dict_from_url`, unpickling tensors only, onto the CPU.

    Raises:
        PretrainedError: the file is not in the cache and cannot be downloaded; it says where to put it.
    """
    folder = model_dir or os.path.join(torch.hub.get_dir(), "checkpoints")
    arguments = {**kwargs, "map_location": "cpu", "weights_only": True}
    try:
        return torch.hub.load_state_dict_from_url(url, model_dir, **arguments)
    except (URLError, TimeoutError, ConnectionError) as error:
        path = os.path.join(folder, url.split("/")[-1])
        raise PretrainedError(_put_it_there(url, path, f"cannot be downloaded ({error})")) from error


def _put_it_there(url: str, path: str, reason: str) -> str:
    return (
        f"the ImageNet weights {path} are not there and {reason}: download {url} elsewhere and put it there, "
        "or name a file with MODEL.BACKBONE.PRETRAIN_PATH (under the host's names, torchvision's or timm's), "
        "or start from random weights with MODEL.BACKBONE.PRETRAIN False"
    )


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
