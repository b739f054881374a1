"""Exact nearest neighbours and the distances of chosen pairs.

Shapes: N images, D feature size, k list width, P pairs.

faiss does the search: its flat L2 search is what the published implementations rank by, runs on all cores and
never holds more than a block of the distance matrix.
"""

import faiss
import numpy as np
import torch
from tqdm import tqdm

from .inputs import as_feature_matrix

# Queries per call of the search. Any size gives the same neighbours; this one is as fast as a single call and
# lets the progress bar move.
QUERY_BLOCK = 1024

# Upper bound on the floats of one temporary block (16 MiB).
BLOCK_FLOATS = 2**22


def nearest_neighbours(features: np.ndarray | torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find every image's k nearest images, itself first.

    The image heads its own list even where it has exact duplicates. Other ties, and differences below float32
    rounding, are ordered as faiss finds them.

    Args:
        features: N x D, any floating type.
        k: list width, the image itself included; 1 <= k <= N.

    Returns:
        indices: N x k int32, nearest first.
        distances: N x k float32, squared Euclidean, ascending.

    Raises:
        TypeError: if the features are not floating point.
        ValueError: if features are not a finite N x D matrix or k lies outside [1, N].
    """
    features = as_feature_matrix(features)
    num_images = len(features)
    if not 1 <= k <= num_images:
        raise ValueError(f"cannot list {k} neighbours among {num_images} images")
    indices = np.empty((num_images, k), dtype=np.int32)
    distances = np.empty((num_images, k), dtype=np.float32)
    with tqdm(total=num_images, desc="nearest neighbours", unit="image", disable=None) as bar:
        for start in range(0, num_images, QUERY_BLOCK):
            rows = slice(start, start + QUERY_BLOCK)
            block_distances, block_indices = faiss.knn(features[rows], features, k)
            indices[rows], distances[rows] = _self_first(block_indices, block_distances, start)
            bar.update(len(block_indices))
    return indices, distances


def _self_first(indices: np.ndarray, distances: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Put each image at the head of its own list; one crowded out by duplicates replaces the last entry."""
    own = np.arange(start, start + len(indices))[:, None]
    crowded_out = ~(indices == own).any(axis=1)
    indices[crowded_out, -1] = own[crowded_out, 0]
    order = np.argsort(indices != own, axis=1, kind="stable")
    indices = np.take_along_axis(indices, order, axis=1)
    distances = np.take_along_axis(distances, order, axis=1)
    distances[:, 0] = 0.0
    return indices, distances


def pair_squared_distances(features: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of P chosen pairs.

    Taken from differences, not from norms and products, so that duplicates are at exactly 0.

    Args:
        features: N x D float32.
        rows: P image indices.
        cols: P image indices.

    Returns:
        P float32.
    """
    distances = np.empty(len(rows), dtype=np.float32)
    block = max(1, BLOCK_FLOATS // features.shape[1])
    for start in tqdm(range(0, len(rows), block), desc="pair distances", disable=None):
        pairs = slice(start, start + block)
        difference = features[rows[pairs]]
        difference -= features[cols[pairs]]
        distances[pairs] = np.einsum("pd,pd->p", difference, difference)
    return distances


def farthest_squared_distances(features: np.ndarray) -> np.ndarray:
    """Squared Euclidean distance from every image to the one farthest from it.

    Args:
        features: N x D float32.

    Returns:
        N float32.
    """
    norms = np.einsum("nd,nd->n", features, features)
    farthest = np.empty_like(norms)
    block = max(1, BLOCK_FLOATS // max(1, len(features)))
    for start in tqdm(range(0, len(features), block), desc="farthest images", disable=None):
        rows = slice(start, start + block)
        products = features[rows] @ features.T
        products *= -2
        products += norms
        farthest[rows] = norms[rows] + products.max(axis=1)
    return np.maximum(farthest, 0)
