"""k-reciprocal re-ranking of a gallery, without a matrix over all pairs of images.

Shapes: Q queries, G gallery images, D feature size.

Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding" (CVPR 2017).
"""

import numpy as np
import torch
from scipy.sparse import csr_array

from mmt_plugin.pseudo_labels.inputs import as_feature_matrix
from mmt_plugin.pseudo_labels.jaccard import averaged, neighbour_lists, set_weights, weight_vectors
from mmt_plugin.pseudo_labels.neighbours import farthest_squared_distances
from mmt_plugin.pseudo_labels.overlap import overlap_distances
from mmt_plugin.pseudo_labels.reciprocal import expanded_sets, joined_rows

# Queries whose dense distances are made at once.
BLOCK = 256


def rerank(
    query: np.ndarray | torch.Tensor,
    gallery: np.ndarray | torch.Tensor,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    power: int = 1,
) -> np.ndarray:
    """Re-ranked distances by the classic formula: (1 - lambda) x Jaccard distance + lambda x scaled distance.

    The scaled distance is the squared Euclidean one over the largest of the query's, to the power given.

    Args:
        query: Q x D, any floating type, L2-normalised by the caller.
        gallery: G x D.
        k1: neighbours on a list, the image itself not counted.
        k2: neighbours, the image itself included, of query expansion.
        lambda_value: weight of the scaled distance, in [0, 1].
        power: 1 as published; 2 for yxgeee/VisDA-ECCV20, which squares squared distances again.

    Returns:
        Q x G float32.

    Raises:
        TypeError: if the features are not floating point.
        ValueError: if features are not finite matrices of equal width or an argument lies outside its range.
    """
    features, num_queries = _stacked(query, gallery)
    if not 0 <= lambda_value <= 1:
        raise ValueError(f"lambda_value (TEST.RERANK.LAMBDA) is {lambda_value}; it must lie in [0, 1]")
    if not 1 <= k2 <= k1:
        raise ValueError(f"k2 (TEST.RERANK.K2) is {k2}; it must lie in [1, k1 = {k1}]")
    neighbours = neighbour_lists(features, k1, k1_includes_self=False)
    farthest = np.maximum(farthest_squared_distances(features), np.finfo(np.float32).tiny)
    sets = expanded_sets(neighbours.indices, round(k1 / 2) + 1)
    vectors = averaged(set_weights(features, neighbours, sets, farthest, power), neighbours.indices[:, :k2])
    reranked = _scaled_distances(features, num_queries, farthest, power)
    reranked *= lambda_value
    reranked += 1 - lambda_value
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
    features, num_queries = _stacked(query, gallery)
    neighbours = neighbour_lists(features, k1, k1_includes_self=True)
    distances = np.ones((num_queries, len(features) - num_queries), dtype=np.float32)
    rows, columns, jaccard = _near_pairs(weight_vectors(features, neighbours, k1, k2), num_queries)
    distances[rows, columns] = jaccard
    return distances


def _stacked(query: np.ndarray | torch.Tensor, gallery: np.ndarray | torch.Tensor) -> tuple[np.ndarray, int]:
    """All features, queries first, and the number of queries."""
    query, gallery = as_feature_matrix(query), as_feature_matrix(gallery)
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(f"query features have {query.shape[1]} columns, gallery features {gallery.shape[1]}")
    if len(query) == 0 or len(gallery) == 0:
        raise ValueError(f"cannot rank {len(gallery)} gallery images for {len(query)} queries")
    return np.concatenate([query, gallery]), len(query)


def _near_pairs(vectors: csr_array, num_queries: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Query, gallery image and Jaccard distance of the pairs whose distance is below 1."""
    first_gallery = np.full(num_queries, num_queries)
    parts = overlap_distances(vectors, num_queries, first_gallery, np.float32(1))
    near = joined_rows(parts, vectors.shape[0], np.float32)
    rows = np.repeat(np.arange(num_queries), np.diff(near.indptr))
    return rows, near.indices - num_queries, near.data


def _scaled_distances(features: np.ndarray, num_queries: int, farthest: np.ndarray, power: int) -> np.ndarray:
    """Q x G squared distances over each query's largest, to a power."""
    norms = np.einsum("nd,nd->n", features, features)
    gallery = features[num_queries:]
    scaled = np.empty((num_queries, len(gallery)), dtype=np.float32)
    for start in range(0, num_queries, BLOCK):
        rows = slice(start, min(start + BLOCK, num_queries))
        block = features[rows] @ gallery.T
        block *= -2
        block += norms[rows, None]
        block += norms[num_queries:]
        np.maximum(block, 0, out=block)
        block /= farthest[rows, None]
        scaled[rows] = block**power
    return scaled
