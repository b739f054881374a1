"""Position embeddings of vision transformers, for images of another size than they were trained with.

Shapes: N tokens, D feature size, h x w patches.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_positions(
    positions: Tensor, grid: tuple[int, int], extra_tokens: int = 1, old_grid: tuple[int, int] | None = None
) -> Tensor:
    """Interpolate position embeddings bilinearly, as TransReID does.

    Args:
        positions: 1 x N x D, those of the extra tokens first; of DeiT's two the class token's is kept.
        grid: h, w that are asked for.
        extra_tokens: tokens that are no patches, in `positions`.
        old_grid: h, w of `positions`; by default `guess_grid` of them.

    Returns:
        1 x (1 + h w) x D.
    """
    token, patches = positions[:, :1], positions[:, extra_tokens:]
    height, width = old_grid or guess_grid(patches.shape[1], grid)
    if (height, width) == tuple(grid):
        return torch.cat([token, patches], dim=1)
    image = patches.reshape(1, height, width, -1).permute(0, 3, 1, 2)
    image = F.interpolate(image.float(), size=grid, mode="bilinear", align_corners=False).to(positions.dtype)
    return torch.cat([token, image.flatten(2).transpose(1, 2)], dim=1)


def guess_grid(patches: int, grid: tuple[int, int]) -> tuple[int, int]:
    """How a number of patches was laid out: as `grid` where it has as many, in a square where there is one
    (ImageNet), else with the proportions that are nearest to the grid's.
    """
    side = math.isqrt(patches)
    if patches == math.prod(grid):
        return tuple(grid)
    if side * side == patches:
        return side, side
    widths = [width for width in range(1, patches + 1) if patches % width == 0]
    width = min(widths, key=lambda width: abs(math.log(patches / width**2 / (grid[0] / grid[1]))))
    return patches // width, width
