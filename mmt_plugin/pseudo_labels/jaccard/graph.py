"""The k-reciprocal Jaccard distance as a sparse graph. Shapes: N images, D feature size, k list width.

Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding" (CVPR 2017), in the two
forms that unsupervised re-ID clusters with: yxgeee/VisDA-ECCV20 and open-mmlab/OpenUnReID, which is the
default here, and yxgeee/MMT.

Every image i gets a sparse weight vector V_i over its expanded set of mutual neighbours. V_i sums to 1, so
with s_ij = sum_l min(V_il, V_jl) the distance is 1 - s_ij / (2 - s_ij), and it differs from 1 only where two
vectors share an image l. Memory grows with N times the list width; no N x N array exists at any time.

After the neighbour search all of it is set work on lists a few dozen long, compiled by numba: row by row as
the published code has it, which sparse matrix products can only imitate. Measured on two cores at N = 32,621,
k1 = 20: 0.5 s, where fastreid's dense code takes 70 s.
"""

import logging

import numpy as np
import torch
from scipy.sparse import csr_array

from mmt_plugin.pseudo_labels.choices import JACCARD_WEIGHTS, choice_rule, demand, query_expansion_rule
from mmt_plugin.pseudo_labels.inputs import as_feature_matrix, search_device
from mmt_plugin.pseudo_labels.neighbours.difference import squared_distance
from mmt_plugin.pseudo_labels.neighbours.nearest import (
    Neighbours,
    farthest_squared_distances,
    nearest_neighbours,
)
from mmt_plugin.pseudo_labels.threads import over_rows
from mmt_plugin.system.compilation import njit

from .overlap import distances_below
from .reciprocal import expanded_sets, joined_rows

logger = logging.getLogger("fastreid.mmt.pseudo_labels")


def jaccard_graph(
    features: np.ndarray | torch.Tensor,
    k1: int,
    k2: int,
    max_distance: float | None = None,
    *,
    k1_includes_self: bool = True,
    weights: str = "softmax",
    search: str = "exact",
    device: str | torch.device | None = None,
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
        search: "exact" neighbours, or approximate ones by "hnsw" or "tree".
        device: where the exact neighbour search runs. None: where the features are.

    Returns:
        N x N symmetric float32 array with sorted indices. It stores the pairs with distance < max_distance,
        zeros included, and no diagonal; a pair that is not stored is at max_distance or beyond.

    Raises:
        TypeError: if the features are not floating point.
        ValueError: if features are not a finite N x D matrix or an argument lies outside its range.
    """
    device = search_device(features, device)
    features = as_feature_matrix(features)
    neighbours = neighbour_lists(features, k1, k1_includes_self, search=search, device=device)
    return graph_from_neighbours(features, neighbours, k1, k2, max_distance, weights=weights)


def neighbour_lists(
    features: np.ndarray,
    k1: int,
    k1_includes_self: bool,
    *,
    search: str = "exact",
    device: str | torch.device | None = None,
) -> Neighbours:
    """Search the neighbour lists that k1 asks for, cut to the number of images.

    Args:
        features: N x D float32, finite.
        k1, k1_includes_self, search, device: as in `jaccard_graph`.

    Returns:
        Lists that are headed by their own image.

    Raises:
        ValueError: if an argument lies outside its range.
    """
    if k1 < 1:
        raise ValueError(f"k1 (PSEUDO_LABELS.K1) is {k1}; it must be at least 1")
    num_images, width = len(features), k1 if k1_includes_self else k1 + 1
    if width > num_images:
        logger.warning("Neighbour lists of %d are cut to the %d images there are.", width, num_images)
        width = num_images
    if width == 0:
        return Neighbours(np.empty((0, 0), dtype=np.int32), np.empty((0, 0), dtype=np.float32))
    return nearest_neighbours(features, width, search=search, device=device)


def graph_from_neighbours(
    features: np.ndarray | torch.Tensor,
    neighbours: Neighbours,
    k1: int,
    k2: int,
    max_distance: float | None = None,
    *,
    weights: str = "softmax",
) -> csr_array:
    """Compute the graph of `jaccard_graph` from given neighbour lists.

    Args:
        features: N x D, any floating type.
        neighbours: lists headed by their own image.
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
    check_bound(max_distance)
    if len(features) < 2:
        return csr_array((len(features), len(features)), dtype=np.float32)
    vectors = weight_vectors(features, neighbours, k1, k2, weights)
    return distances_below(vectors, max_distance)


def check_bound(max_distance: float | None) -> None:
    """Refuse a bound that no pair of images could be beyond, or within.

    Raises:
        ValueError: if max_distance lies outside (0, 1] and is not None.
    """
    if max_distance is not None and not 0 < max_distance <= 1:
        raise ValueError(f"max_distance is {max_distance}; it must lie in (0, 1], or be None for 1")


def weight_vectors(
    features: np.ndarray, neighbours: Neighbours, k1: int, k2: int, weights: str = "softmax"
) -> csr_array:
    """V of all images: weights over the expanded sets, averaged over k2 neighbours.

    Args:
        features: N x D float32, finite.
        neighbours: lists headed by their own image.
        k1, k2, weights: as in `jaccard_graph`.

    Returns:
        N x N; every row sums to 1.

    Raises:
        ValueError: if an argument lies outside its range, or the lists do not fit the features.
    """
    num_images, lists = len(features), neighbours.indices
    demand(query_expansion_rule(k1, k2))
    demand(choice_rule("JACCARD_WEIGHTS", weights, JACCARD_WEIGHTS))
    if len(lists) != num_images or not np.array_equal(lists[:, 0], np.arange(num_images)):
        raise ValueError(f"expected {num_images} neighbour lists, each headed by its own image")
    # Zhong et al. halve by numpy's rounding, halves to even, and count the image itself on top.
    sets = expanded_sets(lists, round(k1 / 2) + 1)
    scales = None if weights == "softmax" else farthest_squared_distances(features)
    return averaged(set_weights(features, neighbours, sets, scales), lists[:, :k2])


def set_weights(
    features: np.ndarray,
    neighbours: Neighbours,
    sets: csr_array,
    scales: np.ndarray | None = None,
    power: int = 1,
) -> csr_array:
    """V before query expansion: each image's weights over its set, falling with distance and summing to 1.

    Args:
        features: N x D float32.
        neighbours: lists whose distances need not be computed again.
        sets: N x N pattern; each image is in its own set.
        scales: N, by which squared distances are divided, row by row; None for 1.
        power: of the scaled squared distance in the exponent.
    """
    num_images = len(features)
    # No distance exceeds the largest one, but rounding and a largest distance of 0 would let it.
    limits = np.full(num_images, np.inf if scales is None else 1, dtype=np.float32)
    scales = np.ones(num_images) if scales is None else np.maximum(scales, np.finfo(np.float32).tiny)
    values = np.empty(sets.nnz, dtype=np.float32)
    arguments = (
        features,
        np.ascontiguousarray(neighbours.indices),
        np.ascontiguousarray(neighbours.distances),
        sets.indptr,
        sets.indices,
        scales.astype(np.float32),
        limits,
        power,
        values,
    )
    over_rows(_weigh, num_images, *arguments, description="neighbour weights")
    return csr_array((values, sets.indices, sets.indptr), shape=sets.shape)


def averaged(vectors: csr_array, lists: np.ndarray) -> csr_array:
    """Local query expansion: replace each image's vector by the mean over the images on its list.

    Args:
        vectors: N x N.
        lists: N x k2; -1 pads.
    """
    if lists.shape[1] == 1:
        return vectors
    arguments = (vectors.indptr, vectors.indices, vectors.data, np.ascontiguousarray(lists))
    parts = over_rows(_average, len(lists), *arguments, description="query expansion")
    return joined_rows(parts, vectors.shape[1], np.float32)


@njit(nogil=True, cache=True)
def _weigh(start, stop, features, lists, distances, ends, members, scales, limits, power, values):
    """Softmax of the negative distances over the sets of rows start to stop."""
    for image in range(start, stop):
        total = np.float32(0)
        for place in range(ends[image], ends[image + 1]):
            other = members[place]
            gap = _distance_of(image, other, features, lists, distances)
            # The image itself is at distance 0: the sum is at least 1 and needs no shift against overflow.
            values[place] = np.exp(-(min(gap / scales[image], limits[image]) ** power))
            total += values[place]
        for place in range(ends[image], ends[image + 1]):
            values[place] /= total


@njit(nogil=True, cache=True)
def _distance_of(image, other, features, lists, distances):
    """Squared distance of a pair, from either one's list where it stands there."""
    for at in range(lists.shape[1]):
        if lists[image, at] == other:
            return distances[image, at]
    for at in range(lists.shape[1]):
        if lists[other, at] == image:
            return distances[other, at]
    return np.float32(squared_distance(features[image], features[other]))


@njit(nogil=True, cache=True)
def _average(start, stop, ends, columns, values, lists):
    """Row lengths, columns and values of the averaged vectors of rows start to stop."""
    at_most = 0
    for image in range(start, stop):
        for other in lists[image]:
            if other >= 0:
                at_most += ends[other + 1] - ends[other]
    new_columns, new_values = np.empty(at_most, np.int32), np.empty(at_most, np.float32)
    lengths = np.empty(stop - start, dtype=np.int64)
    sums = np.zeros(len(ends) - 1, dtype=np.float32)
    filled = 0
    for image in range(start, stop):
        row_start, count = filled, 0
        for other in lists[image]:
            if other < 0:
                continue
            count += 1
            for place in range(ends[other], ends[other + 1]):
                column, value = columns[place], values[place]
                # A sum of 0 stands for a column not met yet; weights may underflow to 0.
                if value == 0:
                    continue
                if sums[column] == 0:
                    new_columns[filled] = column
                    filled += 1
                sums[column] += value
        for place in range(row_start, filled):
            new_values[place] = sums[new_columns[place]] / np.float32(count)
            sums[new_columns[place]] = 0
        lengths[image - start] = filled - row_start
    return lengths, new_columns[:filled].copy(), new_values[:filled].copy()
