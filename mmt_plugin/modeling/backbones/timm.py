"""Any model of timm (Wightman, github.com/huggingface/pytorch-image-models) as a backbone.

Shapes: B batch, C channels, h x w feature map, T tokens.
"""

import logging
import math
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from types import ModuleType
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmt_plugin.errors import UserError
from mmt_plugin.weights.backbones import PretrainedError, fill_backbone
from mmt_plugin.weights.checkpoint_files import load_weights
from mmt_plugin.weights.positions import resize_positions

logger = logging.getLogger("fastreid.mmt.timm")


class TimmError(UserError, ValueError):
    """timm is missing, or cannot build what the keys ask for; the message names them."""


class TimmBackbone(nn.Module):
    """A timm model up to its last feature map. What only its classifier would use is not trained."""

    def __init__(self, model: nn.Module, class_token: bool = False):
        """
        Args:
            model: of timm.
            class_token: give its class token as a map of one pixel, rather than the map of its patches.

        Raises:
            TimmError: a class token is asked for of a model that has none.
        """
        super().__init__()
        self.model = model
        self.split = _split_batch_norm(model)
        self.class_token = class_token
        self.prefix_tokens = getattr(model, "num_prefix_tokens", 0)
        self.channels_last = str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC")
        if class_token and not getattr(model, "has_class_token", self.prefix_tokens > 0):
            raise TimmError(
                f"MODEL.BACKBONE.TOKENS is 'class', but {type(model).__name__} has no class token: set 'map'"
            )
        self.has_batch_norm = any(isinstance(layer, _BatchNorm) for layer in self.modules())

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images, B x 3 x H x W -> B x C x h x w."""
        features = self.model.forward_features(images)
        if features.dim() == 4:
            return features.permute(0, 3, 1, 2) if self.channels_last else features
        if self.class_token:
            return features[:, 0, :, None, None]
        patches = features[:, self.prefix_tokens :].transpose(1, 2)
        return patches.unflatten(2, self._grid(images, patches.shape[2]))

    def adapt_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """timm's weights of this model, whatever the size of its images, by the names that they have here."""
        weights, adapt = self._with_positions(dict(weights)), _adapter(self.model)
        if adapt:
            # It looks for the layers that names tell; below a wrong prefix, which is tried, too, are none.
            with suppress(AttributeError, KeyError, RuntimeError, ValueError):
                weights = adapt(weights, self.model)
        modules = {name.split(".")[0] for name in self.model.state_dict()}
        heads = self.model.pretrained_cfg.get("classifier") or ()
        heads = tuple(f"{name}." for name in ((heads,) if isinstance(heads, str) else heads))
        named = {}
        for key, value in weights.items():
            layer, _, leaf = key.rpartition(".")
            own = f"{layer}.norm.{leaf}" if layer in self.split else key
            # What classifies has no place here, and is not taken for layers of a larger network.
            is_ours = own.split(".")[0] in modules and not own.startswith(heads)
            named[f"model.{own}" if is_ours else own] = value
        return named

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """timm's own switch."""
        self.model.set_grad_checkpointing(enable)

    def layer_numbers(self) -> dict[str, int]:
        """Which layer each parameter is of, from 0, as timm counts them for layer-wise decay."""
        matcher = self.model.group_matcher(coarse=False)
        numbers = import_timm().models.group_parameters(self.model, matcher, reverse=True)
        return {f"model.{name}": number for name, number in numbers.items()}

    def _with_positions(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Position embeddings of images that were not square, which timm takes for square ones."""
        positions, own = weights.get("pos_embed"), getattr(self.model, "pos_embed", None)
        if positions is None or own is None or positions.dim() != 3 or positions.shape == own.shape:
            return weights
        grid = getattr(getattr(self.model, "patch_embed", None), "grid_size", None)
        if (
            grid
            and own.shape[1] == 1 + grid[0] * grid[1]
            and math.isqrt(patches := positions.shape[1] - 1) ** 2 != patches
        ):
            weights["pos_embed"] = resize_positions(positions, tuple(grid))
        return weights

    def _grid(self, images: Tensor, count: int) -> tuple[int, int]:
        """h and w of the patches; one column where the model has no grid of them."""
        embed = getattr(self.model, "patch_embed", None)
        if not hasattr(embed, "dynamic_feat_size"):
            return count, 1
        grid = embed.dynamic_feat_size(tuple(images.shape[2:]))
        return grid if grid[0] * grid[1] == count else (count, 1)


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode) -> TimmBackbone:
    """The timm model that MODEL.BACKBONE.DEPTH names, for images of INPUT.SIZE_TRAIN.

    Position embeddings are resized to the images, TOKENS says what becomes of tokens, DROP_PATH_RATIO is
    stochastic depth. With PRETRAIN weights come from PRETRAIN_PATH, in timm's layout, or else from the hub,
    by the tag in DEPTH. STRIDE_SIZE, LAST_STRIDE and the WITH_ keys are of fastreid's own backbones.

    Raises:
        TimmError: timm is missing, or cannot build it.
        PretrainedError: the weights are not there, or do not fit.
    """
    timm, keys = import_timm(), cfg.MODEL.BACKBONE
    if keys.NORM not in ("BN", "syncBN"):
        raise TimmError(f"MODEL.BACKBONE.NORM is {keys.NORM!r}; a timm model keeps its layers: BN or syncBN")
    model = create_timm_model(cfg)
    by_hand = _place_of_weights(model)
    if keys.PRETRAIN and not os.path.isfile(by_hand):
        _download(timm, model, by_hand)
    backbone = TimmBackbone(model, class_token=keys.TOKENS == "class")
    if keys.PRETRAIN and os.path.isfile(by_hand):
        fill_backbone(backbone, load_weights(by_hand), by_hand, keys.NAME)
    _freeze_unused(backbone, cfg.INPUT.SIZE_TRAIN)
    if not backbone.has_batch_norm:
        logger.info(
            f"{keys.DEPTH} has no batch normalisation: MMT.IMAGES_PER_BN, MMT.DSBN and syncBN concern the "
            "BNNeck alone"
        )
    return nn.SyncBatchNorm.convert_sync_batchnorm(backbone) if keys.NORM == "syncBN" else backbone


def import_timm() -> ModuleType:
    """The package timm, an optional one.

    Raises:
        TimmError: naming the command that installs it.
    """
    try:
        import timm
    except ImportError as error:
        raise TimmError(
            "MODEL.BACKBONE.NAME is 'build_timm_backbone', which needs the package timm: "
            "pip install 'mmt_plugin[timm]'"
        ) from error
    return timm


def create_timm_model(cfg: CfgNode, **more: Any) -> nn.Module:
    """The model that MODEL.BACKBONE.DEPTH names, with random weights and without a classifier.

    Args:
        cfg: the run's configuration.
        more: settings of the model beside those of the configuration.

    Raises:
        TimmError: timm is missing, or cannot build it.
    """
    timm = import_timm()
    keys, size, test_size = cfg.MODEL.BACKBONE, list(cfg.INPUT.SIZE_TRAIN), list(cfg.INPUT.SIZE_TEST)
    if not timm.is_model(keys.DEPTH):
        raise TimmError(
            f"MODEL.BACKBONE.DEPTH is {keys.DEPTH!r}, no model of timm {timm.__version__}; similar names: "
            f"{', '.join(_similar(timm, keys.DEPTH)) or 'none'}"
        )
    settings: dict[str, Any] = {"num_classes": 0, "global_pool": "", "drop_path_rate": keys.DROP_PATH_RATIO}
    settings |= more
    known = timm.models.get_pretrained_cfg(keys.DEPTH)
    if known is not None and known.fixed_input_size:
        if test_size != size:
            raise TimmError(
                f"INPUT.SIZE_TEST is {test_size}, INPUT.SIZE_TRAIN {size}, but {keys.DEPTH} has "
                "position embeddings for one size: set them equal"
            )
        settings["img_size"] = size
    try:
        try:
            return timm.create_model(keys.DEPTH, **settings)
        except TypeError:
            del settings["drop_path_rate"]
            model = timm.create_model(keys.DEPTH, **settings)
            logger.info(f"{keys.DEPTH} has no drop path: MODEL.BACKBONE.DROP_PATH_RATIO changes nothing")
            return model
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise TimmError(
            f"timm cannot build MODEL.BACKBONE.DEPTH {keys.DEPTH!r} for INPUT.SIZE_TRAIN {size}: {error}"
        ) from error


def _similar(timm: ModuleType, name: str) -> list[str]:
    return get_close_matches(name.partition(".")[0], timm.list_models(), n=3)


def _adapter(model: nn.Module) -> Callable[[dict, nn.Module], dict] | None:
    """timm's function that makes a file fit a model: old names, other image sizes."""
    return getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)


def _place_of_weights(model: nn.Module) -> str:
    """Where weights put by hand are looked for."""
    known = model.pretrained_cfg
    name = f"{known['architecture']}.{known['tag']}" if known.get("tag") else known["architecture"]
    return os.path.join(torch.hub.get_dir(), "checkpoints", f"{name}.safetensors")


def _download(timm: ModuleType, model: nn.Module, by_hand: str) -> None:
    """Weights of the tag that MODEL.BACKBONE.DEPTH names, or of timm's default one."""
    known, name = model.pretrained_cfg, os.path.basename(by_hand).removesuffix(".safetensors")
    if not (known.get("url") or known.get("hf_hub_id")):
        raise PretrainedError(
            f"timm has no weights of {name}: choose a tag of timm.list_pretrained() in MODEL.BACKBONE.DEPTH, "
            "name a file with MODEL.BACKBONE.PRETRAIN_PATH, or set MODEL.BACKBONE.PRETRAIN False"
        )
    address = (
        known.get("url") or f"https://huggingface.co/{known['hf_hub_id']}/resolve/main/model.safetensors"
    )
    try:
        timm.models.load_pretrained(model, num_classes=0, filter_fn=_adapter(model), strict=False)
    except Exception as error:  # of several libraries and their versions: whatever may befall a download
        reason = f"{type(error).__name__}: {(str(error).splitlines() or ['no reason given'])[0]}"
        raise PretrainedError(
            f"the weights of {name} cannot be downloaded ({reason}): download {address} elsewhere and put it "
            f"at {by_hand}, or name it with MODEL.BACKBONE.PRETRAIN_PATH, or start from random weights with "
            "MODEL.BACKBONE.PRETRAIN False"
        ) from error


def _split_batch_norm(model: nn.Module) -> set[str]:
    """Take the activations out of timm's BN layers, in place, so that what replaces a BN layer replaces it
    alone; returns the layers' names.
    """
    fused = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.BatchNorm2d) and hasattr(layer, "act") and hasattr(layer, "drop")
    }
    for name, layer in fused.items():
        norm = nn.BatchNorm2d(
            layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats
        )
        norm.load_state_dict(layer.state_dict())
        model.set_submodule(name, nn.Sequential(OrderedDict(norm=norm, drop=layer.drop, act=layer.act)))
    return set(fused)


def _freeze_unused(backbone: nn.Module, image_size: list[int]) -> None:
    """Parameters that features do not depend on, such as those of a head, are not for an optimiser."""
    backbone.eval()
    features = backbone(torch.zeros(1, 3, *image_size))
    parameters = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(features.sum(), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)
    backbone.train()
