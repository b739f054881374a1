"""What could be among each image's nearest: products of blocks of images, and a shortlist for every image.

Shapes: N images, R rows (images whose neighbours are searched), k list width, S shortlist width.

Every score comes with a bound on its error, and an image goes on a shortlist as long as it could still be
among the nearest. Selecting by numba while a block is in cache is what lets one product serve the lists of
both its blocks.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from mmt_plugin.pseudo_labels.threads import worker_threads
from mmt_plugin.system.compilation import njit

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
            _on_stripes(pool, _offer_to_rows, scores.shape[0], arguments)
            if serves_both and second != first:
                _on_stripes(pool, _offer_to_columns, scores.shape[1], arguments)


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


@njit(nogil=True, cache=True)
def _offer_to_rows(start, stop, scores, first, second, groups, bounds, lists):
    """Offer the images of the block's columns to the shortlists of its rows from start to stop."""
    width, relative = scores.shape[1], bounds.relative
    lengths, halves = bounds.lengths[second : second + width], bounds.halves[second : second + width]
    promising = np.empty(width // LANES, np.int32)
    for at_row in range(start, stop):
        row = first + at_row
        floor = lists.floor[row]
        if floor == np.inf:
            continue
        image = lists.rows[row]
        share = bounds.share * bounds.lengths[image]
        _scan_row(scores[at_row], relative, share, lengths, halves, floor, promising)
        for part in range(len(promising)):
            if promising[part] == 0:
                continue
            for at in range(part * LANES, (part + 1) * LANES):
                error = relative * abs(scores[at_row, at]) + share * lengths[at]
                score, other = scores[at_row, at] - halves[at], second + at
                if score + error > floor and groups[other] != groups[image]:
                    _enlist(row, other, score, error, halves[at], bounds, lists)
                    floor = lists.floor[row]


@njit(nogil=True, cache=True)
def _offer_to_columns(start, stop, scores, first, second, groups, bounds, lists):
    """Offer the images of the block's rows to the shortlists of its columns from start to stop."""
    relative = bounds.relative
    lengths = bounds.lengths[second + start : second + stop]
    floors = lists.floor[second + start : second + stop]
    promising = np.empty((stop - start) // LANES, np.int32)
    for at_row in range(scores.shape[0]):
        other = first + at_row
        half, share = bounds.halves[other], bounds.share * bounds.lengths[other]
        _scan_column(scores[at_row, start:stop], relative, share, lengths, half, floors, promising)
        for part in range(len(promising)):
            if promising[part] == 0:
                continue
            for at in range(part * LANES, (part + 1) * LANES):
                value = scores[at_row, start + at]
                error, image = relative * abs(value) + share * lengths[at], second + start + at
                if value - half + error > floors[at] and groups[other] != groups[image]:
                    _enlist(image, other, value - half, error, half, bounds, lists)


# Slices and a constant trip count: the compiler turns these tests into a few vector instructions. Within the
# functions above it would count references to every slice instead.


@njit(nogil=True, cache=True)
def _scan_row(values, relative, share, lengths, halves, floor, promising):
    """Count the scores that may be above a floor, LANES at a time."""
    for part in range(len(promising)):
        here = slice(part * LANES, (part + 1) * LANES)
        some, some_lengths, some_halves = values[here], lengths[here], halves[here]
        hits = np.int32(0)
        for at in range(LANES):
            score = some[at] - some_halves[at]
            hits += np.int32(score + (relative * abs(some[at]) + share * some_lengths[at]) > floor)
        promising[part] = hits


@njit(nogil=True, cache=True)
def _scan_column(values, relative, share, lengths, half, floors, promising):
    """Count the scores that may be above the floors of different lists, LANES at a time."""
    for part in range(len(promising)):
        here = slice(part * LANES, (part + 1) * LANES)
        some, some_lengths, some_floors = values[here], lengths[here], floors[here]
        hits = np.int32(0)
        for at in range(LANES):
            score = some[at] - half
            hits += np.int32(score + (relative * abs(some[at]) + share * some_lengths[at]) > some_floors[at])
        promising[part] = hits


@njit(nogil=True, cache=True)
def _enlist(row, other, score, error, half, bounds, lists):
    """Put an image on a row's shortlist, and raise the list's floor."""
    members, upper = lists.members[row], lists.upper[row]
    size = lists.sizes[row]
    if size == len(members):
        size = _drop_what_cannot_win(members, upper, size, lists.floor[row])
        if size == len(members) and bounds.settles:
            size = _settle(row, bounds, lists)
            if score + error <= lists.floor[row]:
                lists.sizes[row] = size
                return
        lists.sizes[row] = size
        if size == len(members):
            lists.floor[row] = np.inf
            return
    members[size], upper[size] = other, score + error
    lists.sizes[row] = size + 1
    lower = score - error - 3 * bounds.half_rounding * half
    best = lists.best[row]
    place = len(best) - 1
    if lower > best[place]:
        while place > 0 and best[place - 1] < lower:
            best[place] = best[place - 1]
            place -= 1
        best[place] = lower
        # Just below, so that the worst of the best passes even where there is no error.
        lists.floor[row] = max(lists.floor[row], np.nextafter(best[-1], best.dtype.type(-np.inf)))


@njit(nogil=True, cache=True)
def _settle(row, bounds, lists):
    """Keep k members of a list too full of scores that nothing tells apart, and return its new size.

    What is clearly above the k-th score stays, and of what is equal to it within the error of a product the
    smallest indices, which came first. Later images have larger ones: they have to be clearly above.
    """
    members, upper, k = lists.members[row], lists.upper[row], lists.best.shape[1]
    worst = np.partition(upper, len(upper) - k)[len(upper) - k]
    share, band = bounds.share * bounds.lengths[lists.rows[row]], bounds.share * 0
    for other in members:
        error = share * bounds.lengths[other] + bounds.half_rounding * bounds.halves[other]
        band = max(band, 2 * error)
    room = k
    for value in upper:
        room -= value > worst + band
    kept = 0
    for at in range(len(members)):
        within = abs(upper[at] - worst) <= band
        if upper[at] > worst + band or (within and room > 0):
            room -= within
            members[kept], upper[kept] = members[at], upper[at]
            kept += 1
    lists.floor[row] = worst + band
    return kept


@njit(nogil=True, cache=True)
def _drop_what_cannot_win(members, upper, size, floor):
    """Close the ranks of a shortlist, and return its new size."""
    kept = 0
    for at in range(size):
        if upper[at] > floor:
            members[kept], upper[kept] = members[at], upper[at]
            kept += 1
    return kept
