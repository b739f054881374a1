"""The k-reciprocal Jaccard distance as a sparse graph. Shapes: N images, D feature size, k list width.

Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding" (CVPR 2017), in the two
forms that unsupervised re-ID clusters with: yxgeee/VisDA-ECCV20 and open-mmlab/OpenUnReID, which is the
default here, and yxgeee/MMT.

Every image i gets a sparse weight vector V_i over its expanded set of mutual neighbours. V_i sums to 1, so
with s_ij = sum_l min(V_il, V_jl) the distance is 1 - s_ij / (2 - s_ij), and it differs from 1 only where two
vectors share an image l. All of it is set work on lists a few dozen long: sets and expansions are
scipy.sparse products, and the sums of minima, for which there is no library routine, are gathered column by
column and added up by one more sparse product. Memory grows with N times the list width; no N x N array
exists at any time.
"""

import logging
from collections.abc import Iterator

import numpy as np
import torch
from scipy.sparse import csr_array, vstack
from tqdm import tqdm

from .inputs import as_feature_matrix
from .neighbours import farthest_squared_distances, nearest_neighbours, pair_squared_distances

logger = logging.getLogger("fastreid.mmt.pseudo_labels")

WEIGHTS = ("softmax", "scaled")

# Rows whose reciprocal sets are expanded at once, and terms min(V_il, V_jl) gathered at once. They bound the
# memory of the temporaries (about 50 bytes a term) and change no result.
EXPANSION_ROWS = 4096
OVERLAP_TERMS = 2**18


def jaccard_graph(
    features: np.ndarray | torch.Tensor,
    k1: int,
    k2: int,
    max_distance: float | None = None,
    *,
    k1_includes_self: bool = True,
    weights: str = "softmax",
) -> csr_array:
    """Compute the k-reciprocal Jaccard distance of every pair of images that is closer than a bound.

    Lists longer than N are cut to N, with a warning: in so small a set every image is everyone's neighbour.

    Args:
        features: N x D, any floating type. The published distance is defined on L2-normalised features; they
            are taken as they come.
        k1: width of the neighbour lists; their first round(k1 / 2) + 1 entries (halves to even) serve the
            expansion.
        k2: neighbours, the image itself included, over which weight vectors are averaged; 1 for no averaging.
        max_distance: bound in (0, 1]; None means 1, which keeps every pair whose distance differs from 1.
        k1_includes_self: True if the image is one of the k1 list entries (VisDA-ECCV20, OpenUnReID), False if
            the list is k1 others and the image (MMT).
        weights: "softmax" of the negative squared distances (VisDA-ECCV20, OpenUnReID), or "scaled" by the
            image's largest squared distance first (MMT). The latter costs a second pass over all pairs.

    Returns:
        N x N symmetric float32 array with sorted indices. It stores the pairs with distance < max_distance,
        zeros included, and no diagonal; a pair that is not stored is at max_distance or beyond.

    Raises:
        TypeError: if the features are not floating point.
        ValueError: if features are not a finite N x D matrix or an argument lies outside its range.
    """
    features = as_feature_matrix(features)
    neighbours = neighbour_lists(features, k1, k1_includes_self)
    return graph_from_neighbours(features, neighbours, k1, k2, max_distance, weights=weights)


def neighbour_lists(features: np.ndarray, k1: int, k1_includes_self: bool) -> np.ndarray:
    """Search the neighbour lists that k1 asks for, cut to the number of images.

    Args:
        features: N x D float32, finite.
        k1: as in `jaccard_graph`.
        k1_includes_self: as in `jaccard_graph`.

    Returns:
        N x k int32, nearest first, each image at the head of its own list.

    Raises:
        ValueError: if k1 < 1.
    """
    if k1 < 1:
        raise ValueError(f"k1 (PSEUDO_LABELS.K1) is {k1}; it must be at least 1")
    num_images, width = len(features), k1 if k1_includes_self else k1 + 1
    if width > num_images:
        logger.warning("Neighbour lists of %d are cut to the %d images there are.", width, num_images)
        width = num_images
    if width == 0:
        return np.empty((0, 0), dtype=np.int32)
    indices, _ = nearest_neighbours(features, width)
    return indices


def graph_from_neighbours(
    features: np.ndarray | torch.Tensor,
    neighbours: np.ndarray,
    k1: int,
    k2: int,
    max_distance: float | None = None,
    *,
    weights: str = "softmax",
) -> csr_array:
    """Compute the graph of `jaccard_graph` from given neighbour lists.

    Args:
        features: N x D, any floating type.
        neighbours: N x k indices, each image at the head of its own list.
        k1: as in `jaccard_graph`; here it sets the length of the half lists.
        k2: as in `jaccard_graph`.
        max_distance: as in `jaccard_graph`.
        weights: as in `jaccard_graph`.

    Returns:
        As `jaccard_graph`.

    Raises:
        TypeError: if the features are not floating point.
        ValueError: as `jaccard_graph`, or if the lists do not fit the features.
    """
    features = as_feature_matrix(features)
    num_images, bound = len(features), 1.0 if max_distance is None else float(max_distance)
    if not 1 <= k2 <= k1:
        raise ValueError(f"k2 (PSEUDO_LABELS.K2) is {k2}; it must lie in [1, k1 = {k1}]")
    if weights not in WEIGHTS:
        raise ValueError(
            f"weights (PSEUDO_LABELS.JACCARD_WEIGHTS) is {weights!r}; choose one of {', '.join(WEIGHTS)}"
        )
    if not 0 < bound <= 1:
        raise ValueError(f"max_distance is {max_distance}; it must lie in (0, 1], or be None for 1")
    if num_images < 2:
        return csr_array((num_images, num_images), dtype=np.float32)
    if len(neighbours) != num_images or not np.array_equal(neighbours[:, 0], np.arange(num_images)):
        raise ValueError(f"expected {num_images} neighbour lists, each headed by its own image")

    sets = _reciprocal_sets(neighbours)
    half_sets = _reciprocal_sets(neighbours[:, : round(k1 / 2) + 1])
    vectors = _weight_vectors(features, _expand(sets, half_sets), weights)
    if k2 > 1:
        averaged = neighbours[:, :k2]
        vectors = _lists_as_rows(averaged, np.float32) @ vectors
        vectors.data /= np.float32(averaged.shape[1])
    return _distances_below(vectors, bound)


def _lists_as_rows(lists: np.ndarray, dtype: type) -> csr_array:
    """N x k indices as an N x N sparse array with a 1 at every listed image."""
    num_images, width = lists.shape
    ends = np.arange(0, lists.size + 1, width, dtype=np.int32)
    cols = lists.ravel().astype(np.int32)
    rows = csr_array((np.ones(lists.size, dtype), cols, ends), shape=(num_images, num_images))
    rows.sort_indices()
    return rows


def _reciprocal_sets(lists: np.ndarray) -> csr_array:
    """R(i): the images on i's list that have i on theirs, as rows of ones."""
    forward = _lists_as_rows(lists, np.int32)
    return forward.multiply(forward.T).tocsr()


def _expand(sets: csr_array, half_sets: csr_array) -> csr_array:
    """Join to R(i) the half set of each member of which it holds more than two thirds, as rows of ones."""
    half_sizes = np.diff(half_sets.indptr)
    half_sets_by_member = half_sets.T.tocsr()
    blocks = []
    for start in range(0, sets.shape[0], EXPANSION_ROWS):
        members = sets[start : start + EXPANSION_ROWS]
        # The test is against R(i) as it was, never against what has joined it.
        joining = (members @ half_sets_by_member).multiply(members).tocsr()
        joining.data = (3 * joining.data > 2 * half_sizes[joining.indices]).astype(np.int32)
        blocks.append(members + joining @ half_sets)
    expanded = vstack(blocks, format="csr")
    expanded.data = np.ones(expanded.nnz, dtype=np.float32)
    return expanded


def _weight_vectors(features: np.ndarray, sets: csr_array, weights: str) -> csr_array:
    """V before query expansion: each image's weights over its set, falling with distance and summing to 1."""
    sizes = np.diff(sets.indptr)
    rows = np.repeat(np.arange(len(sizes), dtype=sets.indices.dtype), sizes)
    distances = pair_squared_distances(features, rows, sets.indices)
    if weights == "scaled":
        # No distance exceeds the largest one, but rounding and a largest distance of 0 would let it.
        farthest = np.maximum(farthest_squared_distances(features), np.finfo(np.float32).tiny)
        distances = np.minimum(distances / farthest[rows], 1)
    # Each set holds its own image, at distance 0: the sums are at least 1 and need no shift against overflow.
    values = np.exp(-distances)
    values /= np.repeat(np.add.reduceat(values, sets.indptr[:-1]), sizes)
    return csr_array((values, sets.indices, sets.indptr), shape=sets.shape)


def _distances_below(vectors: csr_array, bound: float) -> csr_array:
    """Turn weight vectors into the symmetric graph of the distances below the bound."""
    blocks = []
    for overlap in _overlaps_with_later_images(vectors):
        distance = np.maximum(1 - overlap.data / (2 - overlap.data), 0)
        near = distance < bound
        ends = np.concatenate([[0], np.cumsum(near)])[overlap.indptr].astype(np.int32)
        blocks.append(csr_array((distance[near], overlap.indices[near], ends), shape=overlap.shape))
    upper = vstack(blocks, format="csr")
    del blocks
    upper.sort_indices()
    return _mirrored(upper)


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


def _overlaps_with_later_images(vectors: csr_array) -> Iterator[csr_array]:
    """Yield the sums s_ij with j > i, for one block of consecutive images i after the other (rows x N)."""
    num_images, num_entries = vectors.shape[0], vectors.nnz
    numbered = (np.arange(num_entries, dtype=np.int32), vectors.indices, vectors.indptr)
    by_column = csr_array(numbered, shape=vectors.shape).tocsc()
    images, values = by_column.indices, vectors.data[by_column.data]
    slot_of_entry = np.empty(num_entries, dtype=np.int64)
    slot_of_entry[by_column.data] = np.arange(num_entries)

    # A column lists its images in ascending order: after i's own slot come the later images that share l.
    first_slot = slot_of_entry + 1
    num_terms = by_column.indptr[vectors.indices + 1] - first_slot
    terms_before = np.concatenate([[0], np.cumsum(num_terms)])

    with tqdm(total=num_images, desc="Jaccard distance", unit="image", disable=None) as bar:
        for start, stop in _blocks_of_rows(terms_before[vectors.indptr], OVERLAP_TERMS):
            entries = slice(vectors.indptr[start], vectors.indptr[stop])
            lengths, offset = num_terms[entries], terms_before[entries.start]
            slots = np.repeat(first_slot[entries] - (terms_before[entries] - offset), lengths)
            slots += np.arange(len(slots))
            terms = np.minimum(values[slots], np.repeat(vectors.data[entries], lengths))
            row_ends = terms_before[vectors.indptr[start : stop + 1]] - offset
            yield _add_up(terms, images[slots], row_ends, num_images)
            bar.update(stop - start)


def _blocks_of_rows(terms_before: np.ndarray, most_terms: int) -> Iterator[tuple[int, int]]:
    """Cut rows into ranges of at most `most_terms` terms, or of one row where that alone has more."""
    start, num_rows = 0, len(terms_before) - 1
    while start < num_rows:
        stop = int(np.searchsorted(terms_before, terms_before[start] + most_terms, side="right")) - 1
        stop = max(stop, start + 1)
        yield start, stop
        start = stop


def _add_up(terms: np.ndarray, cols: np.ndarray, row_ends: np.ndarray, num_cols: int) -> csr_array:
    """Sum the terms of equal row and column; a sparse product does so in linear time, without sorting."""
    num_rows, num_terms = len(row_ends) - 1, len(terms)
    ends = np.arange(num_terms + 1, dtype=np.int32)
    ones = np.ones(num_terms, dtype=terms.dtype)
    gather = csr_array((ones, ends[:-1], row_ends.astype(np.int32)), shape=(num_rows, num_terms))
    return gather @ csr_array((terms, cols, ends), shape=(num_terms, num_cols))
