"""What could be among each image's nearest: products of blocks of images, and a shortlist for every image.

Shapes: N images, R rows (images whose neighbours are searched), k list width, S shortlist width.

Every score comes with a bound on its error, and an image goes on a shortlist as long as it could still be
among the nearest.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from mmt_plugin.pseudo_labels.threads import worker_threads

from .offers import offer_to_columns, offer_to_rows
from .products import BLOCKS, LANES, Products


class Shortlists(NamedTuple):
    """For each row, what could be among its nearest.

    Attributes:
        rows: R, the images whose neighbours are searched.
        best: R x k, the largest lower bounds of scores so far, descending.
        floor: R + LANES; a score whose upper bound is not above it cannot be among the k best. Infinite once
            the list overflowed.
        members: R x S image indices.
        upper: R x S upper bounds of their scores.
        sizes: R, members listed.
    """

    rows: np.ndarray
    best: np.ndarray
    floor: np.ndarray
    members: np.ndarray
    upper: np.ndarray
    sizes: np.ndarray

    @property
    def overflowed(self) -> np.ndarray:
        """Row numbers of the lists that could not hold what could be nearest."""
        return np.flatnonzero(np.isposinf(self.floor[: len(self.rows)]))


class Bounds(NamedTuple):
    """What turns a stored product into bounds of a score; see `Products`. `halves` are lower bounds here.

    Attributes:
        lengths: N + LANES.
        halves: N + LANES.
        share, relative, half_rounding: scalars of the type of the lengths.
        settles: whether a list that overflows takes the rest by index, for there is no finer product.
    """

    lengths: np.ndarray
    halves: np.ndarray
    share: np.floating
    relative: np.floating
    half_rounding: np.floating
    settles: bool


def capacity(k: int) -> int:
    """S, the members that a shortlist for k images holds."""
    return 4 * k + 64


def bounds_of(products: Products) -> Bounds:
    """The bounds of the scores that these products give."""
    wide = products.wide
    half_rounding = wide(4 * np.finfo(wide).eps)
    return Bounds(
        lengths=products.lengths,
        halves=products.halves * (1 - half_rounding),
        share=wide(products.share),
        relative=wide(products.relative),
        half_rounding=half_rounding,
        settles=wide is np.float64,
    )


def shortlist_all(products: Products, k: int, groups: np.ndarray) -> Shortlists:
    """Multiply every pair of blocks once and keep what could be among each image's k nearest.

    Args:
        products: of the N images.
        k: list width.
        groups: N integers; images of equal group are not listed for each other.

    Returns:
        A shortlist for every image.
    """
    num_images = len(groups)
    blocks = _slices(num_images, BLOCKS[products.dtype])
    pairs = [(first, second) for at, first in enumerate(blocks) for second in blocks[at:]]
    if products.dtype != torch.float64:
        # A block with itself comes first: images are often in an order in which neighbours are near, and
        # lists are almost final then when the many far ones are tested.
        pairs.sort(key=lambda pair: pair[0] != pair[1])
    return shortlist_pairs(products, k, groups, pairs)


def shortlist_pairs(
    products: Products, k: int, groups: np.ndarray, pairs: Sequence[tuple[slice, slice]]
) -> Shortlists:
    """`shortlist_all` of the given pairs of blocks alone; a block may be paired with itself."""
    lists = _empty_shortlists(np.arange(len(groups)), products, k)
    _multiply(products, lists, groups, pairs, serves_both=True)
    return lists


def shortlist_rows(products: Products, rows: np.ndarray, k: int, groups: np.ndarray) -> Shortlists:
    """`shortlist_all` of some images only, among all.

    Args:
        products: of the N images.
        rows: R image indices.
        k, groups: as in `shortlist_all`.
    """
    block = BLOCKS[products.dtype]
    pairs = [(first, second) for first in _slices(len(rows), block) for second in _slices(len(groups), block)]
    lists = _empty_shortlists(rows, products, k)
    _multiply(products, lists, groups, pairs, serves_both=False)
    return lists


def _slices(stop: int, step: int) -> list[slice]:
    return [slice(first, min(first + step, stop)) for first in range(0, stop, step)]


def _empty_shortlists(rows: np.ndarray, products: Products, k: int) -> Shortlists:
    num_rows, wide = len(rows), products.wide
    floor = np.full(num_rows + LANES, -np.inf, dtype=wide)
    floor[num_rows:] = np.inf
    return Shortlists(
        rows=rows,
        best=np.full((num_rows, k), -np.inf, dtype=wide),
        floor=floor,
        members=np.empty((num_rows, capacity(k)), dtype=np.int32),
        upper=np.empty((num_rows, capacity(k)), dtype=wide),
        sizes=np.zeros(num_rows, dtype=np.int32),
    )


def _multiply(
    products: Products,
    lists: Shortlists,
    groups: np.ndarray,
    pairs: Sequence[tuple[slice, slice]],
    serves_both: bool,
) -> None:
    """Offer the images of each pair of blocks, of rows and of images, to the shortlists of the rows;
    where the rows are all images, to those of the second block, too.
    """
    bounds = bounds_of(products)
    groups = np.pad(groups, (0, LANES), constant_values=-1)
    multiply = _block_product(max(stop.stop - stop.start for pair in pairs for stop in pair), products)
    with worker_threads() as pool:
        for first, second in tqdm(pairs, desc="nearest neighbours", unit="block", disable=None):
            left = products.block(first if serves_both else lists.rows[first])
            right = left if serves_both and first == second else products.block(second)
            scores = multiply(left, right)
            arguments = (scores, first.start, second.start, groups, bounds, lists)
            _on_stripes(pool, offer_to_rows, scores.shape[0], arguments)
            if serves_both and second != first:
                _on_stripes(pool, offer_to_columns, scores.shape[1], arguments)


def _block_product(block: int, products: Products) -> Callable[[torch.Tensor, torch.Tensor], np.ndarray]:
    """A function of two blocks of features that returns their products, in the same memory every time, with
    zeros up to a multiple of LANES columns.
    """
    wide = torch.promote_types(products.dtype, torch.float32)
    widened = torch.empty(block * -(-block // LANES) * LANES, dtype=wide)
    narrow = torch.empty(block * block, dtype=products.dtype) if products.dtype != wide else None

    def multiply(left: torch.Tensor, right: torch.Tensor) -> np.ndarray:
        padded = widened[: len(left) * -(-len(right) // LANES) * LANES].view(len(left), -1)
        if narrow is None:
            torch.mm(left, right.T, out=padded[:, : len(right)])
        else:
            used = narrow[: len(left) * len(right)].view(len(left), len(right))
            torch.mm(left, right.T, out=used)
            padded[:, : len(right)] = used
        padded[:, len(right) :] = 0
        return padded.numpy()

    return multiply


def _on_stripes(pool: ThreadPoolExecutor, kernel: Callable, width: int, arguments: tuple) -> None:
    """Run a kernel on one stripe of a block per thread, cut at multiples of LANES."""
    stripe = -(-width // (LANES * torch.get_num_threads())) * LANES
    calls = [
        pool.submit(kernel, start, min(start + stripe, width), *arguments)
        for start in range(0, width, stripe)
    ]
    for call in calls:
        call.result()
