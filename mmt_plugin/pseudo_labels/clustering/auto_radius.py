"""A DBSCAN radius without a hand: of a list of radii the one whose clusters are best apart. N images."""

import numpy as np
from scipy.sparse import csr_array

from mmt_plugin.pseudo_labels.quality.label_free import silhouette
from mmt_plugin.pseudo_labels.quality.size import LARGE

from .dbscan import dbscan

RADII = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)


def auto_eps(graph: csr_array, features: np.ndarray, min_samples: int, radii: tuple = RADII) -> float:
    """Choose the radius by `worth`; of equally good ones the smallest.

    Args:
        graph: N x N Jaccard distances, all below the largest radius.
        features: N x D that they are of.
        min_samples: of DBSCAN.
        radii: candidates in [0, 1), ascending.
    """
    worths = [worth(dbscan(graph, eps, min_samples), features) for eps in radii]
    return float(radii[int(np.argmax(worths))])


def worth(labels: np.ndarray, features: np.ndarray) -> float:
    """What a clustering is worth as far as its own features tell: silhouette times the share of clustered
    images, less what a cluster of more than a tenth of all images holds.

    Args:
        labels: N integers, -1 for an image of no cluster.
        features: N x D.

    Returns:
        At most 1; -1 for fewer than two clusters.
    """
    counts = np.bincount(labels[labels >= 0])
    if len(counts) < 2:
        return -1.0
    excess = max(counts.max() / len(labels) - LARGE, 0.0)
    return max(silhouette(features, labels), 0.0) * float((labels >= 0).mean()) - excess
