"""Vision transformers that were pre-trained on pictures of people without labels (LUPerson): those of
TransReID-SSL (Luo et al., arXiv 2111.12084) and PASS (Zhu et al., ECCV 2022, arXiv 2203.03931).

Shapes: B batch, D token size, T tokens, h x w patches.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from fastreid.config import CfgNode
from fastreid.layers import IBN
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.backbones.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mmt_plugin.errors import UserError
from mmt_plugin.weights.positions import resize_positions

PATCH = 16
# PASS has a token for each of so many overlapping parts of a person.
PARTS = 3


class PeopleViTError(UserError, ValueError):
    """Keys that name no such network; the message names them."""


@dataclass(frozen=True)
class Variant:
    """What tells the published networks apart; all have 12 blocks and patches of 16 x 16.

    Attributes:
        dim: D.
        heads: of attention.
        stem: "ics": convolutions before the patches are cut, the first ones with IBN; "patches": none.
        parts: whether there are tokens of parts beside the class token.
    """

    dim: int
    heads: int
    stem: str = "patches"
    parts: bool = False


# By MODEL.BACKBONE.DEPTH.
VARIANTS = {
    "small": Variant(384, 6),
    "base": Variant(768, 12),
    "small_ics": Variant(384, 6, "ics"),
    "base_ics": Variant(768, 12, "ics"),
    "small_pass": Variant(384, 6, parts=True),
    "base_pass": Variant(768, 12, parts=True),
}


class ConvolutionStem(nn.Module):
    """The stem of TransReID-SSL's "ICS" networks: three convolutions, and patches of their maps."""

    def __init__(self, image_size: list[int], dim: int, norm: str, width: int = 64):
        """
        Args:
            image_size: height and width.
            dim: D.
            norm: fastreid's name of a batch normalisation.
            width: channels of the convolutions.
        """
        super().__init__()
        self.num_y, self.num_x = (size // PATCH for size in image_size)
        self.num_patches = self.num_y * self.num_x
        layers: list[nn.Module] = []
        for channels, kernel, stride, layer in (
            (3, 7, 2, IBN(width, norm)),
            (width, 3, 1, IBN(width, norm)),
            (width, 3, 1, nn.BatchNorm2d(width)),
        ):
            convolution = nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=False)
            layers += [convolution, layer, nn.ReLU(inplace=True)]
        self.conv = nn.Sequential(*layers)
        self.proj = nn.Conv2d(width, dim, kernel_size=PATCH // 2, stride=PATCH // 2)

    def forward(self, images: Tensor) -> Tensor:
        """B x 3 x H x W -> B x h w x D."""
        return self.proj(self.conv(images)).flatten(2).transpose(1, 2)


class PeopleViT(VisionTransformer):
    """fastreid's vision transformer with the stem and the tokens of the published networks."""

    def __init__(
        self, variant: Variant, image_size: list[int], norm: str = "BN", tokens: str = "map", **dropout: float
    ):
        """
        Args:
            variant: of VARIANTS.
            image_size: height and width, multiples of 16.
            norm: fastreid's name of the batch normalisation in the stem.
            tokens: "class": the class token, beside the mean of the parts' tokens where there are any, as a
                map of one pixel; "map": the patches.
            dropout: rates, by fastreid's names.
        """
        dim = variant.dim
        super().__init__(
            image_size, embed_dim=dim, num_heads=variant.heads, qkv_bias=True, stride_size=PATCH, **dropout
        )
        self.tokens = tokens
        if variant.stem == "ics":
            self.patch_embed = ConvolutionStem(image_size, dim, norm)
        self.parts = PARTS if variant.parts else 0
        if self.parts:
            self.pos_embed = nn.Parameter(torch.zeros(1, self.patch_embed.num_patches, dim))
            own = ["cls_pos"]
            for part in range(1, PARTS + 1):
                own += [f"part_token{part}", f"part{part}_pos"]
            for name in own:
                self.register_parameter(name, nn.Parameter(torch.zeros(1, 1, dim)))
            for name in ("pos_embed", *own):
                nn.init.trunc_normal_(getattr(self, name), std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images, B x 3 x H x W -> B x D x h x w; "class": B x D x 1 x 1 (2 D with parts)."""
        patches = self.patch_embed(images)
        numbers = range(1, self.parts + 1)
        first = torch.cat([self.cls_token, *(getattr(self, f"part_token{part}") for part in numbers)], dim=1)
        positions = self.pos_embed
        if self.parts:
            places = [self.cls_pos, *(getattr(self, f"part{part}_pos") for part in numbers)]
            positions = torch.cat([*places, positions], dim=1)
        x = torch.cat([first.expand(len(images), -1, -1), patches], dim=1) + positions
        x = self.pos_drop(x)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        if self.tokens == "map":
            grid = (self.patch_embed.num_y, self.patch_embed.num_x)
            return x[:, 1 + self.parts :].transpose(1, 2).unflatten(2, grid)
        told = [x[:, 0]]
        if self.parts:
            told.append(x[:, 1 : 1 + self.parts].mean(dim=1))
        return torch.cat(told, dim=1)[:, :, None, None]

    def adapt_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights with position embeddings for the size of images that is asked for."""
        adapted, own = dict(weights), self.pos_embed
        positions = adapted.get("pos_embed")
        if positions is not None and positions.shape != own.shape and positions.dim() == 3:
            grid = (self.patch_embed.num_y, self.patch_embed.num_x)
            if self.parts:  # positions of patches alone
                padded = torch.cat([positions[:, :1], positions], dim=1)
                adapted["pos_embed"] = resize_positions(padded, grid)[:, 1:]
            else:
                adapted["pos_embed"] = resize_positions(positions, grid)
        return adapted


@BACKBONE_REGISTRY.register()
def build_people_vit_backbone(cfg: CfgNode) -> PeopleViT:
    """The network of VARIANTS that MODEL.BACKBONE.DEPTH names, for images of INPUT.SIZE_TRAIN.

    Weights come from MODEL.BACKBONE.PRETRAIN_PATH alone. TOKENS "class" is what the published codes use.

    Raises:
        PeopleViTError: there is no such network, or images are not made of whole patches.
    """
    keys, size = cfg.MODEL.BACKBONE, list(cfg.INPUT.SIZE_TRAIN)
    if keys.DEPTH not in VARIANTS:
        raise PeopleViTError(
            f"MODEL.BACKBONE.DEPTH is {keys.DEPTH!r}; build_people_vit_backbone knows {', '.join(VARIANTS)}"
        )
    if keys.NORM not in ("BN", "syncBN"):
        raise PeopleViTError(f"MODEL.BACKBONE.NORM is {keys.NORM!r}; choose BN or syncBN")
    if any(length % PATCH for length in size) or list(cfg.INPUT.SIZE_TEST) != size:
        raise PeopleViTError(
            f"INPUT.SIZE_TRAIN is {size}, INPUT.SIZE_TEST {list(cfg.INPUT.SIZE_TEST)}: {keys.NAME} needs one "
            f"size for both, of multiples of {PATCH}"
        )
    backbone = PeopleViT(
        VARIANTS[keys.DEPTH],
        size,
        keys.NORM,
        keys.TOKENS,
        drop_rate=keys.DROP_RATIO,
        drop_path_rate=keys.DROP_PATH_RATIO,
        attn_drop_rate=keys.ATT_DROP_RATE,
    )
    return nn.SyncBatchNorm.convert_sync_batchnorm(backbone) if keys.NORM == "syncBN" else backbone
