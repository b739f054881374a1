"""Exact k-nearest neighbours at the speed of the processor's fastest matrix product.

Shapes: N images, D feature size, k list width.

All pairs of blocks of images are multiplied, each once, to shortlist what could be among the nearest; float64
distances of the few shortlisted images decide. So the lists are those of a float64 search whatever the
precision of the product, and ties go to the smaller index on every machine.

The product's precision is the one that a trial on some images finds the cheapest for these features. Narrow
products are many times faster, but cannot tell apart what is much nearer to each other than to the rest; such
a crowd is searched by itself, and lists that still overflow again with float64 products.
"""

import numpy as np
import torch
from tqdm import tqdm

from mmt_plugin.pseudo_labels.threads import over_rows
from mmt_plugin.system.compilation import njit

from .apart import set_apart
from .copies import copies
from .difference import squared_distance
from .products import BLOCKS, Products, prepare, seconds_of_products
from .shortlists import Shortlists, bounds_of, capacity, shortlist_all, shortlist_rows

# Images of the trial, at most and at least, and scores that are in memory at a time in it.
TRIAL_IMAGES, FEWEST_TRIAL_IMAGES, TRIAL_SCORES = 128, 16, 2**21

# Share of a shortlist's width that counts as full in the trial.
FULL = 0.75

# Lists that overflow without making another precision worth a trial.
FEW_OVERFLOWS = 0.02

# Centres without a set that lies apart, after which no more are tried; and sets within sets.
MISSES, DEEPEST = 8, 8

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
    num_images = len(features)
    firsts, ranks = copies(features, groups)
    # Of equal images that are among the others' nearest, the first k + 1 fill every list.
    kept = np.flatnonzero(ranks <= k)
    groups = np.arange(num_images) if groups is None else groups
    if len(kept) == num_images:
        return _search(features, k, groups)
    found, gaps = _search(features[kept], k, groups[kept])
    indices = np.full((num_images, k), -1, dtype=np.int32)
    distances = np.full((num_images, k), np.inf, dtype=np.float32)
    indices[kept], distances[kept] = np.where(found < 0, -1, kept[found]), gaps
    # The last that was kept lists the k before it, and so do all that come after it; or, in groups, what any
    # of them lists.
    last = np.empty(num_images, dtype=np.int64)
    last[firsts[ranks == k]] = np.flatnonzero(ranks == k)
    left_out = np.flatnonzero(ranks > k)
    like = last[firsts[left_out]]
    indices[left_out], distances[left_out] = indices[like], distances[like]
    return indices, distances


def _search(
    features: np.ndarray, k: int, groups: np.ndarray, depth: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """`search` among images few of which are equal."""
    found = (
        np.full((len(features), k), -1, dtype=np.int32),
        np.full((len(features), k), np.inf, dtype=np.float32),
    )
    left = np.arange(len(features))
    products = cheapest_products(features, k, groups)
    if products.dtype == torch.float64:
        left = _search_apart(features, left, groups, found, depth)
        if len(left) == 0:
            return found
        if len(left) < len(features):
            products = cheapest_products(features, k, groups, left)
    if len(left) == len(features):
        lists = shortlist_all(products, k, groups)
    else:
        lists = shortlist_rows(products, left, k, groups)
    decide(features, lists, *found)
    again = left[lists.overflowed]
    del lists
    again = _search_apart(features, again, groups, found, depth)
    if len(again):
        decide(features, shortlist_rows(prepare(features, torch.float64), again, k, groups), *found)
    return found


def _search_apart(
    features: np.ndarray,
    rows: np.ndarray,
    groups: np.ndarray,
    found: tuple[np.ndarray, np.ndarray],
    depth: int,
) -> np.ndarray:
    """Search sets that lie apart from all other images by themselves, into the lists of their members.

    Args:
        features, groups: as in `search`.
        rows: images whose neighbours are searched.
        found: indices and distances, of which the rows of these images are filled.
        depth: sets that these images are a part of.

    Returns:
        The images that are left, ascending.
    """
    k, misses = found[0].shape[1], 0
    wanted = np.zeros(len(features), dtype=bool)
    wanted[rows] = True
    if depth == DEEPEST or len(rows) <= MISSES:
        return rows
    for centre in np.random.default_rng(0).permutation(rows).tolist():
        if misses == MISSES:
            break
        if not wanted[centre]:
            continue
        members = set_apart(features, centre, k, groups)
        if members is None:
            misses += 1
            continue
        indices, distances = _search(features[members], k, groups[members], depth + 1)
        here = wanted[members]
        found[0][members[here]], found[1][members[here]] = members[indices[here]], distances[here]
        wanted[members] = False
    return np.flatnonzero(wanted)


def cheapest_products(
    features: np.ndarray, k: int, groups: np.ndarray, rows: np.ndarray | None = None
) -> Products:
    """Products of the precision that is likely to take the least time, lists that overflow included.

    Args:
        features, k, groups: as in `search`.
        rows: images whose neighbours are searched among all; None: all.
    """
    rows = np.arange(len(features)) if rows is None else rows
    seconds = seconds_of_products()
    cheapest, least = None, seconds[torch.float64] / 2
    for dtype in sorted((torch.bfloat16, torch.float32), key=seconds.get):
        products = prepare(features, dtype)
        overflows = _share_of_overflows(products, k, groups, rows) if products.holds_all else 1.0
        # Each pair once, and whole rows of float64 products for the lists that overflow.
        cost = seconds[dtype] / 2 + overflows * seconds[torch.float64]
        if cost < least:
            cheapest, least = products, cost
        if overflows <= FEW_OVERFLOWS:
            break
    return prepare(features, torch.float64) if cheapest is None else cheapest


def _share_of_overflows(products: Products, k: int, groups: np.ndarray, rows: np.ndarray) -> float:
    """The share of these images' shortlists that would overflow, on a sample, each compared with all."""
    num_images = len(groups)
    wanted = min(max(TRIAL_SCORES // num_images, FEWEST_TRIAL_IMAGES), TRIAL_IMAGES, len(rows))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, wanted).astype(int))]
    bounds, block = bounds_of(products), products.block(rows)
    lengths, halves = (torch.from_numpy(part[:num_images]) for part in (bounds.lengths, bounds.halves))
    step = BLOCKS[products.dtype]
    scores = torch.empty(len(rows), num_images, dtype=lengths.dtype)
    for start in range(0, num_images, step):
        columns = slice(start, start + step)
        scores[:, columns] = block @ products.block(columns).T
    errors = scores.abs() * float(bounds.relative)
    errors += float(bounds.share) * lengths[rows, None] * lengths
    scores -= halves
    scores[torch.from_numpy(groups[rows, None] == groups)] = -torch.inf
    floors = (scores - errors).topk(min(k, num_images), dim=1).values[:, -1:]
    # Lists hold what could be among the nearest of the images seen so far: somewhat more than in the end.
    return float(((scores + errors > floors).sum(dim=1) > FULL * capacity(k)).float().mean())


def decide(features: np.ndarray, lists: Shortlists, indices: np.ndarray, distances: np.ndarray) -> None:
    """Order each row's shortlist by distance, into the lists of its image; one that overflowed is left.

    Args:
        features: N x D float32, finite.
        lists: what could be among the nearest of some images.
        indices: N x k int32, of which the rows of these images are filled.
        distances: N x k float32, likewise.
    """
    arguments = (features, lists, indices, distances)
    over_rows(_decide, len(lists.rows), *arguments, description="nearest neighbours, decided")


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
    # Distances stay as they are, and products lose less, without what all features have in common.
    moved = features - features.mean(dim=0)
    half_norms = moved.square().sum(dim=1) / 2
    width = min(k + SPARE, num_images)
    indices = np.full((num_images, k), -1, dtype=np.int32)
    distances = np.full((num_images, k), np.inf, dtype=np.float32)
    for start in tqdm(range(0, num_images, GPU_BLOCK), desc="nearest neighbours", disable=None):
        rows = slice(start, start + GPU_BLOCK)
        scores = moved[rows] @ moved.T - half_norms
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
def _decide(start, stop, features, lists, indices, distances):
    """Order the shortlists of rows start to stop by distance, then by index."""
    gaps = np.empty(indices.shape[1])
    for row in range(start, stop):
        if lists.floor[row] == np.inf:
            continue
        image, worst = lists.rows[row], lists.best[row, -1]
        gaps[:] = np.inf
        for at in range(lists.sizes[row]):
            if lists.upper[row, at] >= worst:
                other = lists.members[row, at]
                _insert(indices[image], gaps, other, squared_distance(features[image], features[other]))
        distances[image] = gaps


@njit(nogil=True, cache=True)
def _insert(indices, gaps, other, gap):
    """Keep a list of nearest images sorted by distance, then by index."""
    place = len(indices) - 1
    if gap > gaps[place] or (gap == gaps[place] and other > indices[place] >= 0):
        return
    while place > 0 and (gaps[place - 1] > gap or (gaps[place - 1] == gap and indices[place - 1] > other)):
        gaps[place], indices[place] = gaps[place - 1], indices[place - 1]
        place -= 1
    gaps[place], indices[place] = gap, other
