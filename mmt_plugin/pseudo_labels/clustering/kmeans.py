"""k-means on features. Shapes: N images, D feature size, C clusters."""

import logging

import faiss
import numpy as np
import torch
from sklearn.cluster import kmeans_plusplus

from mmt_plugin.pseudo_labels.inputs import as_feature_matrix

logger = logging.getLogger("fastreid.mmt.pseudo_labels")
# Dimensions in which the initial centres are chosen.
PROJECTED_SIZE = 256


def kmeans(
    features: np.ndarray | torch.Tensor,
    num_clusters: int,
    num_iterations: int = 300,
    seed: int = 1,
    num_restarts: int = 1,
) -> np.ndarray:
    """Cluster features by k-means (faiss) on all images, from centres that scikit-learn's greedy k-means++
    chose.

    The same features and seed give the same labels. Fewer distinct images than clusters leave some clusters
    empty; labels are renumbered without gaps then, with a warning.

    Args:
        features: N x D, any floating type; clustered as they come.
        num_clusters: in [1, N].
        num_iterations: upper bound on the iterations.
        seed: of the initial centres; a further start takes the next number.
        num_restarts: starts from different centres, at least 1; the one of the smallest inertia (sum of
            squared distances to the centres) is kept, the first on a tie.

    Returns:
        N int64 labels.

    Raises:
        TypeError: if the features are not floating point.
        ValueError: if features are not a finite N x D matrix, or an argument lies outside its range.
    """
    features = as_feature_matrix(features)
    num_images, size = features.shape
    if not 1 <= num_clusters <= num_images:
        raise ValueError(
            f"num_clusters (PSEUDO_LABELS.KMEANS.NUM_CLUSTERS) is {num_clusters}; "
            f"it must be at least 1 and at most the number of images, {num_images}"
        )
    if num_iterations < 1:
        raise ValueError(
            f"num_iterations (PSEUDO_LABELS.KMEANS.NUM_ITERATIONS) is {num_iterations}; it must be at least 1"
        )
    if num_restarts < 1:
        raise ValueError(
            f"num_restarts (PSEUDO_LABELS.KMEANS.NUM_RESTARTS) is {num_restarts}; it must be at least 1"
        )
    rough = _projected(features, seed)
    assigned, least = None, np.inf
    for start in range(seed, seed + num_restarts):
        # faiss would otherwise train on a sample of 256 images a cluster, and warn below 39.
        search = faiss.Kmeans(
            size,
            num_clusters,
            niter=num_iterations,
            seed=start,
            min_points_per_centroid=1,
            max_points_per_centroid=num_images,
            **_early_stop(),
        )
        search.train(features, init_centroids=features[_initial_images(rough, num_clusters, start)])
        distances, nearest = search.assign(features)
        inertia = distances.sum(dtype=np.float64)
        if assigned is None or inertia < least:
            assigned, least = nearest, inertia
    found, labels = np.unique(assigned, return_inverse=True)
    if len(found) < num_clusters:
        logger.warning("k-means left %d of %d clusters empty.", num_clusters - len(found), num_clusters)
    return labels.astype(np.int64)


def _early_stop() -> dict[str, float]:
    """End k-means when an iteration gains less than one part in 10,000, where this faiss can (scikit-learn's
    tolerance); an older one goes on until nothing changes.
    """
    name = "early_stop_threshold"
    return {name: 1e-4} if hasattr(faiss.ClusteringParameters(), name) else {}


def _projected(features: np.ndarray, seed: int) -> np.ndarray:
    """Features in few random dimensions, N x PROJECTED_SIZE at most, whose distances are roughly the same."""
    size = features.shape[1]
    if size <= PROJECTED_SIZE:
        return features
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((size, PROJECTED_SIZE), dtype=np.float32)
    return features @ (directions / np.float32(PROJECTED_SIZE**0.5))


def _initial_images(rough: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """K images, spread out, to start k-means from.

    Random centres would leave it 2 % above the inertia that k-means++ reaches where there are about as many
    clusters as identities. Choosing takes most of scikit-learn's time, but rough distances serve as well.
    """
    return kmeans_plusplus(rough, num_clusters, random_state=seed)[1]
