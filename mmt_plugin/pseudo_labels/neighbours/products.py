"""Inner products of blocks of images in a chosen precision, with a bound on the error of each.

Shapes: N images, D feature size.

Distances do not change when the same vector is taken from all features, and shrink with a factor that all
share. So features are moved to their middle and scaled by a power of two first: what a product then loses by
rounding is small beside the distances, whatever offset the features have in common.
"""

import functools
import math
import time
from dataclasses import dataclass, replace

import numpy as np
import torch

# Entries that are tested at once by the compiled loops; what they read is padded by as many.
LANES = 64

# Images of a block, by precision: its products (8 to 9 MiB) stay in the last-level cache.
BLOCKS = {torch.bfloat16: 1536, torch.float32: 1536, torch.float64: 1024}

# Images that the middle is estimated from.
MIDDLE_IMAGES = 4096

# Lengths of features, relative to the median one, whose squares float32 holds with room to spare.
SHORTEST, LONGEST = 2.0**-45, 2.0**55

# Of two, within which a scale has to stay to be a float32.
LARGEST_EXPONENT = 126

# Roundings of a sum of products, relative to the sum, beside those of its D steps.
FURTHER_ROUNDINGS = 16


@dataclass(frozen=True)
class Products:
    """Features ready to be multiplied, block by block.

    The score of image j for image i is ``<i, j> - |j|^2 / 2``: the larger, the nearer. With the stored
    product v it lies within ``relative * |v| + share * lengths[i] * lengths[j]`` of ``v - halves[j]``, but
    for the rounding of ``halves[j]`` and of the sum.

    Attributes:
        features: N x D float32, as they were given.
        dtype: of the products.
        middle: D, of the type that is computed with, subtracted from every feature once it is scaled.
        scale: a power of two.
        rounded: N x D, for a type narrower than the features; others are made block by block.
        lengths: N + LANES, at least the length of each image's feature; the padding is 0.
        halves: N + LANES, half the squared length of each image's feature; infinite in the padding.
        share: see above.
        relative: see above.
    """

    features: np.ndarray
    dtype: torch.dtype
    middle: torch.Tensor
    scale: float
    rounded: torch.Tensor | None = None
    lengths: np.ndarray | None = None
    halves: np.ndarray | None = None
    share: float = 0.0
    relative: float = 0.0

    @property
    def wide(self) -> type:
        """The type that scores are compared in: float32, or float64 for float64 products."""
        return np.float64 if self.dtype == torch.float64 else np.float32

    @property
    def holds_all(self) -> bool:
        """Whether the squares of all lengths fit the type that scores are compared in."""
        lengths = self.lengths[self.lengths > 0]
        return self.dtype == torch.float64 or bool(
            (lengths.min(initial=1) >= SHORTEST) and (lengths.max(initial=1) <= LONGEST)
        )

    def block(self, images: slice | np.ndarray) -> torch.Tensor:
        """Features of some images, in the type of the products (wider ones while they are being rounded)."""
        if self.rounded is not None:
            return self.rounded[images]
        return torch.from_numpy(self.features[images]).to(self.middle.dtype) * self.scale - self.middle


def prepare(features: np.ndarray, dtype: torch.dtype) -> Products:
    """Move, scale and round features, and bound the errors of their products.

    Args:
        features: N x D float32, finite.
        dtype: bfloat16, float32 or float64.

    Returns:
        What `Products` describes.
    """
    num_images, size = features.shape
    middle, scale = _frame(features)
    wide = torch.promote_types(dtype, torch.float32)
    products = Products(features, dtype, middle.to(wide), scale)
    narrow = dtype != wide
    rounded = torch.empty(num_images, size, dtype=dtype) if narrow else None
    lengths, lost = np.zeros(num_images), np.zeros(num_images)
    for start in range(0, num_images, BLOCKS[dtype]):
        rows = slice(start, start + BLOCKS[dtype])
        moved = products.block(rows)
        lengths[rows] = torch.linalg.vector_norm(moved, dim=1, dtype=torch.float64).numpy()
        if narrow:
            rounded[rows] = moved
            moved -= rounded[rows]
            lost[rows] = torch.linalg.vector_norm(moved, dim=1, dtype=torch.float64).numpy()
    share = 1.01 * (size + FURTHER_ROUNDINGS) * torch.finfo(wide).eps / 2
    bounds = lengths
    if narrow:
        # By Cauchy-Schwarz, from the lengths of what rounding took away: about the same share of every image.
        # One that loses more counts as longer.
        typical = max(float(np.median(lost / np.maximum(lengths, SHORTEST))), 2.0**-12)
        bounds = np.maximum(lengths, lost / typical)
        share = 1.01 * (share + 2 * typical + typical**2)
    with np.errstate(over="ignore"):
        halves = np.pad(lengths**2 / 2, (0, LANES), constant_values=np.inf)
        return replace(
            products,
            rounded=rounded,
            lengths=np.pad(1.0001 * bounds, (0, LANES)).astype(products.wide),
            halves=halves.astype(products.wide),
            share=share,
            # Products of a narrow type are rounded once more where they are stored.
            relative=torch.finfo(dtype).eps / 2 if narrow else 0.0,
        )


def _frame(features: np.ndarray) -> tuple[torch.Tensor, float]:
    """The middle of the scaled features, D float32, and the scale; a few far-off images change neither."""
    num_images = len(features)
    sample = np.unique(np.linspace(0, num_images - 1, min(num_images, MIDDLE_IMAGES)).astype(int))
    sample = torch.from_numpy(features[sample]).double()
    lengths = torch.linalg.vector_norm(sample, dim=1)
    middle = sample[lengths <= 4 * lengths.median()].mean(dim=0)
    scale = _power_near_one(torch.linalg.vector_norm(sample - middle, dim=1))
    return (middle * scale).float().nan_to_num(0.0), scale


def _power_near_one(lengths: torch.Tensor) -> float:
    """The power of two that brings the median of the lengths that are not 0 near 1."""
    lengths = lengths[lengths > 0]
    exponent = 0 if len(lengths) == 0 else -round(math.log2(float(lengths.median())))
    return 2.0 ** min(max(exponent, -LARGEST_EXPONENT), LARGEST_EXPONENT)


@functools.cache
def seconds_of_products() -> dict[torch.dtype, float]:
    """Time of a product of two small blocks in each precision on this processor, by a few trials."""
    seconds = {}
    for dtype in BLOCKS:
        block = torch.ones(512, 512, dtype=dtype)
        trials = []
        for _ in range(4):
            start = time.perf_counter()
            block @ block.T
            trials.append(time.perf_counter() - start)
        seconds[dtype] = min(trials)
    return seconds


def fastest_dtype() -> torch.dtype:
    """The precision whose products take this processor the least time."""
    seconds = seconds_of_products()
    return min(seconds, key=seconds.get)
