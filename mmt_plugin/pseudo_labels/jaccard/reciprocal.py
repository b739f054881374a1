"""k-reciprocal neighbour sets. Shapes: N images, k list width, h half-list width.

Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding" (CVPR 2017), section
    3.2.
"""

import numpy as np
from scipy.sparse import csr_array

from mmt_plugin.pseudo_labels.threads import over_rows
from mmt_plugin.system.compilation import njit


def reciprocal_sets(lists: np.ndarray) -> csr_array:
    """R(i): the images on i's list that have i on theirs.

    Args:
        lists: N x k int32 neighbour lists; -1 pads.

    Returns:
        N x N pattern; row i lists R(i) in list order.
    """
    mutual = np.empty(lists.shape, dtype=np.bool_)
    over_rows(_find_mutual, len(lists), lists, mutual, description="reciprocal neighbours")
    ends = np.concatenate([[0], np.cumsum(mutual.sum(axis=1))])
    return _pattern(lists[mutual], ends, len(lists))


def expanded_sets(lists: np.ndarray, half_width: int) -> csr_array:
    """R*(i): R(i), joined by the half set of each member of which R(i) holds more than two thirds.

    Args:
        lists: N x k int32 neighbour lists.
        half_width: h, leading entries of a list from which half sets are made.

    Returns:
        N x N pattern.
    """
    sets = reciprocal_sets(lists)
    half_sets = reciprocal_sets(np.ascontiguousarray(lists[:, :half_width]))
    arguments = (sets.indptr, sets.indices, half_sets.indptr, half_sets.indices)
    return joined_rows(
        over_rows(_expand, len(lists), *arguments, description="expanded neighbours"), len(lists), None
    )


def union_of_sets(one: csr_array, other: csr_array) -> csr_array:
    """The images in either of two sets, row by row."""
    union = (one + other).tocsr()
    return _pattern(union.indices, union.indptr, union.shape[0])


def joined_rows(parts: list[tuple], num_columns: int, dtype: type | None) -> csr_array:
    """Put the (row lengths, columns, values) that `over_rows` collected into one sparse array.

    Args:
        parts: one tuple for each range of rows; values are missing where dtype is None.
        num_columns: of the array.
        dtype: of the values; None for a pattern of ones.
    """
    lengths = np.concatenate([part[0] for part in parts])
    ends = np.concatenate([[0], np.cumsum(lengths)])
    columns = np.concatenate([part[1] for part in parts])
    if dtype is None:
        return _pattern(columns, ends, num_columns)
    values = np.concatenate([part[2] for part in parts])
    return csr_array((values, columns, ends.astype(_index_type(ends[-1]))), shape=(len(lengths), num_columns))


def _pattern(columns: np.ndarray, ends: np.ndarray, num_columns: int) -> csr_array:
    ones = np.ones(len(columns), dtype=np.int8)
    return csr_array((ones, columns, ends.astype(_index_type(ends[-1]))), shape=(len(ends) - 1, num_columns))


def _index_type(largest: int) -> type:
    return np.int32 if largest <= np.iinfo(np.int32).max else np.int64


@njit(nogil=True, cache=True)
def _find_mutual(start, stop, lists, mutual):
    for image in range(start, stop):
        for at in range(lists.shape[1]):
            other = lists[image, at]
            mutual[image, at] = other >= 0 and _contains(lists[other], image)


@njit(nogil=True, cache=True)
def _contains(values, wanted):
    for value in values:  # noqa: SIM110  (a generator is not compiled)
        if value == wanted:
            return True
    return False


@njit(nogil=True, cache=True)
def _expand(start, stop, ends, members, half_ends, half_members):
    """Row lengths and columns of the expanded sets of rows start to stop."""
    num_images = len(ends) - 1
    at_most = ends[stop] - ends[start]
    for place in range(ends[start], ends[stop]):
        at_most += half_ends[members[place] + 1] - half_ends[members[place]]
    columns = np.empty(at_most, dtype=np.int32)
    lengths = np.empty(stop - start, dtype=np.int64)
    in_set, in_expanded = np.full(num_images, -1, np.int32), np.full(num_images, -1, np.int32)
    filled = 0
    for image in range(start, stop):
        row_start = filled
        for member in members[ends[image] : ends[image + 1]]:
            in_set[member] = in_expanded[member] = image
            columns[filled] = member
            filled += 1
        for member in members[ends[image] : ends[image + 1]]:
            half_set = half_members[half_ends[member] : half_ends[member + 1]]
            # The test is against R(i) as it was, never against what has joined it.
            shared = 0
            for candidate in half_set:
                shared += in_set[candidate] == image
            if 3 * shared <= 2 * len(half_set):
                continue
            for candidate in half_set:
                if in_expanded[candidate] != image:
                    in_expanded[candidate] = image
                    columns[filled] = candidate
                    filled += 1
        lengths[image - start] = filled - row_start
    return lengths, columns[:filled].copy()
