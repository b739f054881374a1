"""From weight vectors to Jaccard distances: sums of minima over shared images. Shapes: N images.

There is no library routine for a sparse product of minima. The vectors are read once by row and, for every
image of a row, by column, so that only pairs that share an image are ever met.
"""

import numpy as np
from scipy.sparse import csr_array

from mmt_plugin.pseudo_labels.threads import over_rows
from mmt_plugin.system.compilation import njit

from .reciprocal import joined_rows


def distances_below(vectors: csr_array, max_distance: float | None = None) -> csr_array:
    """Turn weight vectors into the symmetric graph of the distances below the bound; see `jaccard_graph`."""
    bound = np.float32(1 if max_distance is None else max_distance)
    num_images = vectors.shape[0]
    first_other = np.arange(1, num_images + 1)
    upper = joined_rows(overlap_distances(vectors, num_images, first_other, bound), num_images, np.float32)
    upper.sort_indices()
    return _mirrored(upper)


def overlap_distances(
    vectors: csr_array, num_rows: int, first_other: np.ndarray, bound: np.float32
) -> list[tuple]:
    """Jaccard distances below the bound, of the leading rows to later images.

    Args:
        vectors: N x N.
        num_rows: rows to compute.
        first_other: for each of these rows, the first image whose distance is wanted.
        bound: distances at it or beyond are left out.

    Returns:
        Parts for `joined_rows`.
    """
    by_column = vectors.tocsc()
    arguments = (
        *(vectors.indptr, vectors.indices, vectors.data),
        *(by_column.indptr, by_column.indices, by_column.data),
        *(first_other, bound),
    )
    return over_rows(_overlap, num_rows, *arguments, description="Jaccard distance")


def _mirrored(upper: csr_array) -> csr_array:
    """Fill the lower triangle; the sum of an array and its transpose would drop the zeros of duplicates."""
    lower = upper.T.tocsr()
    index_type = np.int32 if 2 * upper.nnz <= np.iinfo(np.int32).max else np.int64
    indices = np.empty(2 * upper.nnz, dtype=index_type)
    data = np.empty(2 * upper.nnz, dtype=upper.dtype)
    # A row is its lower part, then its upper part. What lies before an entry in the result but not in its own
    # part: for the lower part the upper entries of earlier rows, for the upper part all lower entries so far.
    for part, earlier in ((lower, upper.indptr[:-1]), (upper, lower.indptr[1:])):
        slots = np.arange(part.nnz, dtype=index_type)
        slots += np.repeat(earlier, np.diff(part.indptr))
        indices[slots] = part.indices
        data[slots] = part.data
    indptr = upper.indptr.astype(index_type) + lower.indptr
    return csr_array((data, indices, indptr), shape=upper.shape)


@njit(nogil=True, cache=True)
def _overlap(start, stop, ends, columns, values, col_ends, col_images, col_values, first_other, bound):
    """Row lengths, columns and distances below the bound of rows start to stop."""
    num_images = len(ends) - 1
    sums = np.zeros(num_images, dtype=np.float32)
    touched = np.empty(num_images, dtype=np.int32)
    capacity = 64 * (stop - start)
    near, gaps = np.empty(capacity, np.int32), np.empty(capacity, np.float32)
    lengths = np.zeros(stop - start, dtype=np.int64)
    filled = 0
    for image in range(start, stop):
        num_touched = 0
        for place in range(ends[image], ends[image + 1]):
            column, value = columns[place], values[place]
            if value == 0:
                continue
            # A column lists its images in ascending order.
            for slot in range(col_ends[column + 1] - 1, col_ends[column] - 1, -1):
                other = col_images[slot]
                if other < first_other[image]:
                    break
                if col_values[slot] == 0:
                    continue
                if sums[other] == 0:
                    touched[num_touched] = other
                    num_touched += 1
                sums[other] += min(value, col_values[slot])
        if filled + num_touched > capacity:
            capacity = 2 * (filled + num_touched)
            near, gaps = _grown(near, filled, capacity), _grown(gaps, filled, capacity)
        row_start = filled
        for other in touched[:num_touched]:
            shared = sums[other]
            sums[other] = 0
            gap = max(np.float32(1) - shared / (np.float32(2) - shared), np.float32(0))
            if gap < bound:
                near[filled], gaps[filled] = other, gap
                filled += 1
        lengths[image - start] = filled - row_start
    return lengths, near[:filled].copy(), gaps[:filled].copy()


@njit(nogil=True, cache=True)
def _grown(values, filled, capacity):
    grown = np.empty(capacity, values.dtype)
    grown[:filled] = values[:filled]
    return grown
