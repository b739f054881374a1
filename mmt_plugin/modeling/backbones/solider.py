"""Swin transformers of SOLIDER (Chen et al., CVPR 2023, arXiv 2303.17602), pre-trained on pictures of people.

Their channels are scaled and shifted between two stages by what a semantic weight says: 0 looks at
appearance, 1 at the parts of a body. For one such weight that is part of the linear layer before.
"""

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from torch import Tensor, nn

from mmt_plugin.weights.foreign_names import layout, rename

from .timm import TimmBackbone, create_timm_model

# As SOLIDER-REID has it.
SEMANTIC_WEIGHT = 0.2
# From SOLIDER's names, which are mmdetection's, to those of Swin's authors, which timm reads, too.
_NAMES = layout(
    (r"patch_embed\.projection\.", "patch_embed.proj."),
    (r"stages\.(\d+)\.downsample\.", r"layers.\1.downsample."),
    (r"stages\.(\d+)\.blocks\.(\d+)\.attn\.w_msa\.", r"layers.\1.blocks.\2.attn."),
    (r"stages\.(\d+)\.blocks\.(\d+)\.ffn\.layers\.0\.0\.", r"layers.\1.blocks.\2.mlp.fc1."),
    (r"stages\.(\d+)\.blocks\.(\d+)\.ffn\.layers\.1\.", r"layers.\1.blocks.\2.mlp.fc2."),
    (r"stages\.(\d+)\.blocks\.(\d+)\.", r"layers.\1.blocks.\2."),
    (r"norm3\.", "norm."),
)
# Of other outputs than the last, and of tokens beyond it.
_UNUSED = re.compile(r"norm[012]\.|semantic_embed_|.*relative_position_index$|mask_token$")


class SoliderBackbone(TimmBackbone):
    """timm's Swin transformer, whose layers between stages also shift."""

    def __init__(self, model: nn.Module):
        super().__init__(model)
        for stage in model.layers[1:]:
            old = stage.downsample.reduction
            stage.downsample.reduction = nn.Linear(old.in_features, old.out_features)
            nn.init.zeros_(stage.downsample.reduction.bias)

    def adapt_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """SOLIDER's weights, or timm's, by the names that they have here."""
        if any(name.startswith("stages.") for name in weights):
            weights = _from_solider(weights)
        weights = super().adapt_weights(weights)
        for name, value in self.state_dict().items():
            if name.endswith("reduction.bias"):
                weights.setdefault(name, torch.zeros_like(value))  # timm's have none
        return weights


def _from_solider(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names and order of neighbours of Swin's authors; what the semantic weight says is part of layers."""
    own = {}
    for name, value in weights.items():
        if _UNUSED.match(name):
            continue
        new = rename(name, _NAMES)
        if ".downsample.reduction." in new:
            value = _reorder(value.t()).t()
        elif ".downsample.norm." in new:
            value = _reorder(value)
        own[new] = value
    semantics = torch.tensor([SEMANTIC_WEIGHT, 1 - SEMANTIC_WEIGHT])
    for name in [name for name in own if name.endswith("downsample.reduction.weight")]:
        stage = name.split(".")[1]
        scale, shift = (_semantic(weights, f"semantic_embed_{kind}.{stage}", semantics) for kind in "wb")
        if scale is not None and shift is not None:
            own[name] = own[name] * F.softplus(scale)[:, None]
            own[name.replace(".weight", ".bias")] = shift
    return own


def _semantic(weights: Mapping[str, Tensor], layer: str, semantics: Tensor) -> Tensor | None:
    if f"{layer}.weight" not in weights:
        return None
    return F.linear(semantics, weights[f"{layer}.weight"].float(), weights[f"{layer}.bias"].float())


def _reorder(values: Tensor) -> Tensor:
    """4 C rows, each channel's four neighbours together, by row -> each neighbour's channels, by column."""
    return values.unflatten(0, (-1, 4)).transpose(0, 1)[[0, 2, 1, 3]].flatten(0, 1)


@BACKBONE_REGISTRY.register()
def build_solider_backbone(cfg: CfgNode) -> SoliderBackbone:
    """The Swin transformer of timm that MODEL.BACKBONE.DEPTH names, with SOLIDER's layers between stages.

    Weights come from MODEL.BACKBONE.PRETRAIN_PATH alone. As in SOLIDER windows keep their size where maps are
    smaller.

    Raises:
        TimmError: timm is missing, or cannot build it.
    """
    return SoliderBackbone(create_timm_model(cfg, always_partition=True))
