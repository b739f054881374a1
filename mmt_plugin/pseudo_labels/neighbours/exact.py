"""Exact k-nearest neighbours at the speed of the processor's fastest matrix product.

Shapes: N images, D feature size, k list width.

All pairs of blocks of images are multiplied, each once, to shortlist what could be among the nearest; float32
distances of the few shortlisted images decide. So the lists are those of a float32 search whatever the
precision of the product, and ties go to the smaller index on every machine.

Chosen by measurement on two cores with AVX512-BF16, N = 12,936, D = 2048, k = 20: this search 1.2 s, faiss's
flat index 3.3 s.
"""

import numpy as np
import torch
from numba import njit
from tqdm import tqdm

from mmt_plugin.pseudo_labels.threads import over_rows

from . import shortlists
from .shortlists import Shortlists, shortlist

# Images per block of the search on a GPU, and spare candidates that make up for the rounding of its products.
GPU_BLOCK = 4096
SPARE = 16


def search(features: np.ndarray, k: int, groups: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Find every image's k nearest other images on the CPU.

    Args:
        features: N x D float32, finite.
        k: list width, at least 1; the image itself is never listed.
        groups: N integers; images of equal group are not listed for each other. None lists all.

    Returns:
        indices: N x k int32, nearest first, ties by index; -1 where there are too few images.
        distances: N x k float32, squared Euclidean; infinite where there are too few.
    """
    groups = np.arange(len(features)) if groups is None else groups
    step, stop = shortlists.BLOCK, len(features)
    blocks = [slice(first, min(first + step, stop)) for first in range(0, stop, step)]
    pairs = [(first, second) for at, first in enumerate(blocks) for second in blocks[at:]]
    return decide(features, groups, shortlist(features, k, groups, pairs), k)


def decide(
    features: np.ndarray, groups: np.ndarray, lists: Shortlists, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Order each image's shortlist by float32 distance.

    Args:
        features: N x D float32, finite.
        groups: N integers; images of equal group are not listed for each other.
        lists: what could be among the nearest.
        k: list width.

    Returns:
        As `search`.
    """
    indices = np.full((len(features), k), -1, dtype=np.int32)
    distances = np.full((len(features), k), np.inf, dtype=np.float32)
    arguments = (features, groups, lists, indices, distances)
    over_rows(_decide, len(features), *arguments, description="nearest neighbours, decided")
    return indices, distances


def search_on_gpu(
    features: torch.Tensor, k: int, groups: torch.Tensor | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`search` on the device that holds the features: float32 products, top-k, float32 distances decide.

    Args:
        features: N x D float32 tensor on any device.
        k: as in `search`.
        groups: as in `search`, on the same device.

    Returns:
        As `search`.
    """
    num_images = len(features)
    groups = torch.arange(num_images, device=features.device) if groups is None else groups
    half_norms = features.square().sum(dim=1) / 2
    width = min(k + SPARE, num_images)
    indices = np.full((num_images, k), -1, dtype=np.int32)
    distances = np.full((num_images, k), np.inf, dtype=np.float32)
    for start in tqdm(range(0, num_images, GPU_BLOCK), desc="nearest neighbours", disable=None):
        rows = slice(start, start + GPU_BLOCK)
        scores = features[rows] @ features.T - half_norms
        scores[groups[rows, None] == groups] = -torch.inf
        values, found = scores.topk(width)
        # One list a row, in index order, so that a stable sort by distance gives ties to the smaller index.
        found, order = found.sort(dim=1)
        gaps = torch.stack(
            [(features[rows] - features[column]).square().sum(dim=1) for column in found.T], dim=1
        )
        gaps[values.gather(1, order) == -torch.inf] = torch.inf
        gaps, order = gaps.sort(dim=1, stable=True)
        found = found.gather(1, order).masked_fill(gaps == torch.inf, -1)
        filled = min(k, width)
        indices[rows, :filled] = found[:, :filled].cpu().numpy()
        distances[rows, :filled] = gaps[:, :filled].cpu().numpy()
    return indices, distances


@njit(nogil=True, cache=True)
def _decide(start, stop, features, groups, lists, indices, distances):
    """Order the shortlists of rows start to stop by float32 distance; an overflowed one by all images."""
    for image in range(start, stop):
        floor = lists.floor[image]
        if floor == np.inf:
            for other in range(len(features)):
                if groups[other] != groups[image]:
                    gap = squared_distance(features[image], features[other])
                    _insert(indices[image], distances[image], other, gap)
            continue
        for at in range(lists.sizes[image]):
            if lists.upper[image, at] > floor:
                other = lists.members[image, at]
                gap = squared_distance(features[image], features[other])
                _insert(indices[image], distances[image], other, gap)


@njit(nogil=True, cache=True)
def _insert(indices, distances, other, gap):
    """Keep a list of nearest images sorted by distance, then by index."""
    place = len(indices) - 1
    if gap > distances[place] or (gap == distances[place] and other > indices[place] >= 0):
        return
    while place > 0 and (
        distances[place - 1] > gap or (distances[place - 1] == gap and indices[place - 1] > other)
    ):
        distances[place], indices[place] = distances[place - 1], indices[place - 1]
        place -= 1
    distances[place], indices[place] = gap, other


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def squared_distance(one, other):
    """Squared Euclidean distance of two feature vectors, from differences: 0 for duplicates."""
    total = np.float32(0)
    for at in range(len(one)):
        difference = one[at] - other[at]
        total += difference * difference
    return total
