"""k-reciprocal re-ranking of a gallery, without a matrix over all pairs of images.

Shapes: Q queries, G gallery images, N = Q + G, D feature size.

Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding" (CVPR 2017).
"""

import numpy as np
import torch
from scipy.sparse import csr_array

from mmt_plugin.pseudo_labels.jaccard.graph import averaged, neighbour_lists, set_weights, weight_vectors
from mmt_plugin.pseudo_labels.jaccard.overlap import overlap_distances
from mmt_plugin.pseudo_labels.jaccard.reciprocal import expanded_sets, joined_rows

from .distances import ImageDistances


def rerank(
    query: np.ndarray | torch.Tensor,
    gallery: np.ndarray | torch.Tensor,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    power: int = 1,
) -> np.ndarray:
    """Re-ranked distances of features, by `rerank_distances`.

    Args:
        query: Q x D, any floating type, L2-normalised by the caller.
        gallery: G x D.
        k1, k2, lambda_value, power: as in `rerank_distances`.

    Returns:
        Q x G float32.

    Raises:
        TypeError: if the features are not floating point.
        ValueError: if features are not finite matrices of equal width or an argument lies outside its range.
    """
    return rerank_distances(ImageDistances.between(query, gallery), k1, k2, lambda_value, power)


def rerank_distances(
    distances: ImageDistances, k1: int = 20, k2: int = 6, lambda_value: float = 0.3, power: int = 1
) -> np.ndarray:
    """Re-ranked distances by the classic formula: (1 - lambda) x Jaccard distance + lambda x scaled distance.

    The scaled distance is the distance over the query's largest one (by size), to the power given. Distances
    that a camera term made negative keep their sign, whatever the power: the published square would put the
    nearest images behind farther ones. Where none is negative, and always without a camera term, all values
    are the published ones.

    Args:
        distances: of N images, queries first.
        k1: neighbours on a list, the image itself not counted.
        k2: neighbours, the image itself included, of query expansion.
        lambda_value: weight of the scaled distance, in [0, 1].
        power: 1 as published; 2 for yxgeee/VisDA-ECCV20, which squares squared distances again.

    Returns:
        Q x G float32.

    Raises:
        ValueError: if an argument lies outside its range.
    """
    if not 0 <= lambda_value <= 1:
        raise ValueError(f"lambda_value (TEST.RERANK.LAMBDA) is {lambda_value}; it must lie in [0, 1]")
    if not 1 <= k2 <= k1:
        raise ValueError(f"k2 (TEST.RERANK.K2) is {k2}; it must lie in [1, k1 = {k1}]")
    num_queries = distances.num_queries
    neighbours, farthest = distances.nearest_and_farthest(k1)
    farthest = np.maximum(farthest, np.finfo(np.float32).tiny)
    sets = expanded_sets(neighbours.indices, round(k1 / 2) + 1)
    if distances.has_camera_term:
        weights = _signed_weights(distances, sets, farthest, power)
    else:
        weights = set_weights(distances.features, neighbours, sets, farthest, power)
    vectors = averaged(weights, neighbours.indices[:, :k2])
    reranked = np.empty((num_queries, len(farthest) - num_queries), dtype=np.float32)
    done = 0
    for block in distances.query_blocks():
        here = slice(done, done + len(block))
        reranked[here] = lambda_value * _signed_power(block / farthest[here, None], power) + 1 - lambda_value
        done += len(block)
    rows, columns, jaccard = _near_pairs(vectors, num_queries)
    reranked[rows, columns] -= (1 - lambda_value) * (1 - jaccard)
    return reranked


def jaccard_distances(
    query: np.ndarray | torch.Tensor, gallery: np.ndarray | torch.Tensor, k1: int, k2: int
) -> np.ndarray:
    """Jaccard distances of queries to gallery images, in the form of `jaccard_graph`'s defaults.

    Args:
        query: Q x D, any floating type, L2-normalised by the caller.
        gallery: G x D.
        k1, k2: as in `jaccard_graph`.

    Returns:
        Q x G float32.

    Raises:
        TypeError: if the features are not floating point.
        ValueError: if features are not finite matrices of equal width or an argument lies outside its range.
    """
    both = ImageDistances.between(query, gallery)
    features, num_queries = both.features, both.num_queries
    neighbours = neighbour_lists(features, k1, k1_includes_self=True)
    distances = np.ones((num_queries, len(features) - num_queries), dtype=np.float32)
    rows, columns, jaccard = _near_pairs(weight_vectors(features, neighbours, k1, k2), num_queries)
    distances[rows, columns] = jaccard
    return distances


def _near_pairs(vectors: csr_array, num_queries: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Query, gallery image and Jaccard distance of the pairs whose distance is below 1."""
    first_gallery = np.full(num_queries, num_queries)
    parts = overlap_distances(vectors, num_queries, first_gallery, np.float32(1))
    near = joined_rows(parts, vectors.shape[0], np.float32)
    rows = np.repeat(np.arange(num_queries), np.diff(near.indptr))
    return rows, near.indices - num_queries, near.data


def _signed_weights(
    distances: ImageDistances, sets: csr_array, farthest: np.ndarray, power: int
) -> csr_array:
    """`set_weights` of distances that may be negative: weights over each image's set, summing to 1."""
    sizes = np.diff(sets.indptr)
    scaled = distances.on(sets) / np.repeat(farthest, sizes)
    values = np.exp(-_signed_power(scaled, power))
    values /= np.repeat(np.add.reduceat(values, sets.indptr[:-1]), sizes)
    return csr_array((values, sets.indices, sets.indptr), shape=sets.shape)


def _signed_power(scaled: np.ndarray, power: int) -> np.ndarray:
    """|x|^power with the sign of x. No scaled distance is beyond 1 in size, but rounding would let it."""
    scaled = np.clip(scaled, -1, 1)
    return scaled if power == 1 else np.sign(scaled) * np.abs(scaled) ** power
