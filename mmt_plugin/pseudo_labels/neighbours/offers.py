"""The compiled loops that offer a block of products to the shortlists of its images; see `shortlists`.

Selecting while a block is in cache is what lets one product serve the lists of both its blocks.
"""

import numpy as np
from numba import njit

from .products import LANES


@njit(nogil=True, cache=True)
def offer_to_rows(start, stop, scores, first, second, groups, bounds, lists):
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
def offer_to_columns(start, stop, scores, first, second, groups, bounds, lists):
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
