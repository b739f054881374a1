"""What could be among each image's nearest: products of blocks of images, and a shortlist for every image.

Shapes: N images, D feature size, k list width, S shortlist width.

Every pair of blocks is multiplied once and serves the lists of both. The product may be bfloat16, on
processors that are several times faster at it: each similarity then comes with a bound on its error, and an
image goes on a shortlist as long as it could still be among the nearest. Selecting by numba while a block is
in cache is what lets one product serve both lists.
"""

import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from tqdm import tqdm

from mmt_plugin.pseudo_labels.threads import worker_threads

# Images of a block: its products (9 MiB) stay in the last-level cache.
BLOCK = 1536

# Similarities that are tested at once; a block's products are padded to a multiple of it.
LANES = 64


class Shortlists(NamedTuple):
    """Per image, what could be among its nearest. A score is the inner product less half the other's squared
    norm.

    Attributes:
        best: N x k, the largest lower bounds of scores so far, descending.
        floor: N; a score whose upper bound is not above it cannot be among the k best. Infinite once the list
            overflowed.
        margin: N, twice the bound on the error of a product with this image.
        members: N x S image indices.
        upper: N x S upper bounds of their scores.
        sizes: N, members listed.
    """

    best: np.ndarray
    floor: np.ndarray
    margin: np.ndarray
    members: np.ndarray
    upper: np.ndarray
    sizes: np.ndarray


def shortlist(
    features: np.ndarray,
    k: int,
    groups: np.ndarray,
    pairs: Sequence[tuple[slice, slice]],
    bounded: bool = True,
) -> Shortlists:
    """Multiply pairs of blocks and keep what could be among each image's k nearest.

    Args:
        features: N x D float32, finite.
        k: list width.
        groups: N integers; images of equal group are not listed for each other.
        pairs: blocks of at most `BLOCK` images each; a block may be paired with itself.
        bounded: whether products count with the bound on their error, so that no true neighbour is missed.
            Otherwise they count as they are.

    Returns:
        A shortlist for every image.
    """
    num_images = len(features)
    rounded = torch.from_numpy(features).to(fastest_product_dtype())
    squared_norms = np.einsum("nd,nd->n", features, features)
    # A product is rounded when it is stored.
    precision = torch.finfo(rounded.dtype).eps if bounded else 0.0
    lists = _empty_shortlists(squared_norms, features.shape[1], k, precision)
    half_norms = np.pad(squared_norms / 2, (0, LANES), constant_values=np.inf).astype(np.float32)
    groups = np.pad(groups, (0, LANES), constant_values=-1)

    multiply = _block_product(min(BLOCK, num_images + LANES), rounded.dtype)
    relative = np.float32(precision)
    with worker_threads() as pool:
        for first, second in tqdm(pairs, desc="nearest neighbours", unit="block", disable=None):
            products = multiply(rounded[first], rounded[second])
            arguments = (products, first.start, second.start, half_norms, groups, relative, lists)
            _on_stripes(pool, _offer_to_rows, products.shape[0], arguments)
            if second != first:
                _on_stripes(pool, _offer_to_columns, products.shape[1], arguments)
    return lists


def _empty_shortlists(squared_norms: np.ndarray, size: int, k: int, precision: float) -> Shortlists:
    """Shortlists without members, and the error bounds of products of rounded features (Cauchy-Schwarz).

    Rounding to nearest moves a number by at most half of `precision`, the gap between 1 and the next number,
    and so a vector by at most that share of its length.
    """
    num_images, norms = len(squared_norms), np.sqrt(squared_norms)
    # Both inputs, up to D roundings of a float32 sum, and a little for the rounding of the norms themselves.
    share = 1.01 * (precision + precision**2 / 4 + size * 2.0**-24)
    error = share * norms * norms.max(initial=0)
    capacity = 4 * k + 64
    floor = np.full(num_images + LANES, -np.inf, dtype=np.float32)
    floor[num_images:] = np.inf
    return Shortlists(
        best=np.full((num_images, k), -np.inf, dtype=np.float32),
        floor=floor,
        margin=(2 * error).astype(np.float32),
        members=np.empty((num_images, capacity), dtype=np.int32),
        upper=np.empty((num_images, capacity), dtype=np.float32),
        sizes=np.zeros(num_images, dtype=np.int32),
    )


def _block_product(block: int, dtype: torch.dtype) -> Callable[[torch.Tensor, torch.Tensor], np.ndarray]:
    """A function of two blocks of features that returns their products as float32, in the same memory every
    time, with minus infinity up to a multiple of LANES columns: nobody's score.
    """
    products = torch.empty(block * block, dtype=dtype)
    widened = torch.empty(block * block, dtype=torch.float32)

    def multiply(left: torch.Tensor, right: torch.Tensor) -> np.ndarray:
        used = products[: len(left) * len(right)].view(len(left), len(right))
        torch.mm(left, right.T, out=used)
        padded = widened[: len(left) * -(-len(right) // LANES) * LANES].view(len(left), -1)
        padded[:, : len(right)] = used
        padded[:, len(right) :] = -np.inf
        return padded.numpy()

    return multiply


def _on_stripes(pool: ThreadPoolExecutor, kernel, width: int, arguments: tuple) -> None:
    """Run a kernel on one stripe of a block per thread, cut at multiples of LANES."""
    stripe = -(-width // (LANES * torch.get_num_threads())) * LANES
    calls = [
        pool.submit(kernel, start, min(start + stripe, width), *arguments)
        for start in range(0, width, stripe)
    ]
    for call in calls:
        call.result()


@functools.cache
def fastest_product_dtype() -> torch.dtype:
    """bfloat16 where this processor multiplies it faster than float32, by a trial of a few milliseconds."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        block = torch.ones(512, 512, dtype=dtype)
        trials = []
        for _ in range(4):
            start = time.perf_counter()
            block @ block.T
            trials.append(time.perf_counter() - start)
        seconds[dtype] = min(trials)
    return min(seconds, key=seconds.get)


@njit(nogil=True, cache=True)
def _offer_to_rows(start, stop, products, first, second, half_norms, groups, relative, lists):
    """Offer the images of the block's columns to the shortlists of its rows from start to stop."""
    width = products.shape[1]
    for row in range(start, stop):
        image = first + row
        scores, norms = products[row], half_norms[second : second + width]
        floor = lists.floor[image]
        if floor == np.inf:
            continue
        for lane in range(0, width, LANES):
            # Slices and a constant trip count: the compiler turns this test into a few vector instructions.
            some_scores, some_norms = scores[lane : lane + LANES], norms[lane : lane + LANES]
            hits = np.int32(0)
            for at in range(LANES):
                value = some_scores[at]
                hits += np.int32(value + relative * abs(value) - some_norms[at] > floor)
            if hits == 0:
                continue
            for at in range(LANES):
                value = some_scores[at]
                if value + relative * abs(value) - some_norms[at] > floor:
                    other = second + lane + at
                    if groups[other] != groups[image]:
                        _enlist(image, other, value, relative, some_norms[at], lists)
                        floor = lists.floor[image]


@njit(nogil=True, cache=True)
def _offer_to_columns(start, stop, products, first, second, half_norms, groups, relative, lists):
    """Offer the images of the block's rows to the shortlists of its columns from start to stop."""
    floors = lists.floor[second : second + products.shape[1]]
    for row in range(products.shape[0]):
        other = first + row
        scores, norm = products[row], half_norms[other]
        for lane in range(start, stop, LANES):
            some_scores, some_floors = scores[lane : lane + LANES], floors[lane : lane + LANES]
            hits = np.int32(0)
            for at in range(LANES):
                value = some_scores[at]
                hits += np.int32(value + relative * abs(value) - norm > some_floors[at])
            if hits == 0:
                continue
            for at in range(LANES):
                value = some_scores[at]
                if value + relative * abs(value) - norm > some_floors[at]:
                    image = second + lane + at
                    if groups[other] != groups[image]:
                        _enlist(image, other, value, relative, norm, lists)


@njit(nogil=True, cache=True)
def _enlist(image, other, value, relative, half_norm, lists):
    """Put one image on another's shortlist, and raise the list's floor."""
    members, upper = lists.members[image], lists.upper[image]
    size = lists.sizes[image]
    if size == len(members):
        size = _drop_what_cannot_win(members, upper, size, lists.floor[image])
        lists.sizes[image] = size
        if size == len(members):
            lists.floor[image] = np.inf
            return
    members[size] = other
    upper[size] = value + relative * abs(value) - half_norm
    lists.sizes[image] = size + 1
    lower = value - relative * abs(value) - half_norm
    best = lists.best[image]
    place = len(best) - 1
    if lower > best[place]:
        while place > 0 and best[place - 1] < lower:
            best[place] = best[place - 1]
            place -= 1
        best[place] = lower
        # Just below, so that the worst of the best passes even where there is no error.
        lists.floor[image] = np.nextafter(best[-1] - lists.margin[image], np.float32(-np.inf))


@njit(nogil=True, cache=True)
def _drop_what_cannot_win(members, upper, size, floor):
    """Close the ranks of a shortlist, and return its new size."""
    kept = 0
    for at in range(size):
        if upper[at] > floor:
            members[kept], upper[kept] = members[at], upper[at]
            kept += 1
    return kept
