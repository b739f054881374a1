"""DBSCAN on a sparse graph of distances. Shapes: N images.

Labels are int64, dense from 0; -1 marks an image of no cluster.
"""

import logging

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

logger = logging.getLogger("fastreid.mmt.pseudo_labels")
# Duplicates are at Jaccard distance 0 up to float32 rounding.
ZERO_DISTANCE = 1e-6
# Dimensions in which the initial centres of k-means are chosen.
PROJECTED_SIZE = 256


def check_eps(eps: float) -> None:
    """Refuse a radius the sparse graph cannot serve.

    Raises:
        ValueError: if eps lies outside [0, 1), as float32.
    """
    if not 0 <= np.float32(eps) < 1:
        raise ValueError(
            f"the DBSCAN radius (PSEUDO_LABELS.DBSCAN.EPS) is {eps}; it must lie in [0, 1): "
            "at Jaccard distance 1 every image is every other's neighbour"
        )


def dbscan(graph: csr_array, eps: float, min_samples: int) -> np.ndarray:
    """Cluster a sparse distance graph as scikit-learn's DBSCAN clusters the dense matrix, label for label.

    Clusters are the connected components of core images, numbered by their first core image; an image that is
    within eps of several clusters without being core joins the one with the smallest number, as in
    scikit-learn's scan order.

    Args:
        graph: N x N symmetric distances without diagonal, holding at least all pairs at eps or less.
        eps: neighbourhood radius in [0, 1).
        min_samples: images, the image itself included, within eps that make it a core image.

    Returns:
        N int64 labels.

    Raises:
        ValueError: if eps or min_samples lies outside its range.
    """
    check_eps(eps)
    if min_samples < 1:
        raise ValueError(
            f"min_samples (PSEUDO_LABELS.DBSCAN.MIN_SAMPLES) is {min_samples}; it must be at least 1"
        )
    num_images = graph.shape[0]
    # In the precision of the distances, as scikit-learn compares.
    near = graph.data <= graph.dtype.type(eps)
    rows = np.repeat(np.arange(num_images, dtype=graph.indices.dtype), np.diff(graph.indptr))[near]
    cols = graph.indices[near]
    core = np.bincount(rows, minlength=num_images) + 1 >= min_samples

    labels = np.full(num_images, -1, dtype=np.int64)
    linked = core[rows] & core[cols]
    links = csr_array((np.ones(linked.sum(), np.int8), (rows[linked], cols[linked])), shape=graph.shape)
    components = connected_components(links, directed=False)[1][core]
    labels[core] = _number_by_first_appearance(components)

    reached = core[rows] & ~core[cols]
    border = np.full(num_images, num_images, dtype=np.int64)
    np.minimum.at(border, cols[reached], labels[rows[reached]])
    is_border = border < num_images
    labels[is_border] = border[is_border]
    return labels


def _number_by_first_appearance(labels: np.ndarray) -> np.ndarray:
    """Renumber to 0, 1, 2, ... in the order in which the values first occur."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def rho_eps(graph: csr_array, rho: float) -> float:
    """Choose the DBSCAN radius from the density of the data, by the rule of yxgeee/MMT.

    The radius is the mean of the smallest round(rho * n) of the n distances between distinct images; a pair
    closer than 1e-6 is a duplicate and not counted. At least one distance is taken. rho presumes the identity
    density of a data set like Market-1501 and is far too strict for small sets.

    Args:
        graph: N x N from `jaccard_graph` with max_distance 1, so that a pair that is not stored is at 1.
        rho: share of the pairs, in (0, 1].

    Returns:
        The radius; 1e-6, which joins duplicates only, where no two images are distinct.

    Raises:
        ValueError: if rho lies outside (0, 1].
    """
    if not 0 < rho <= 1:
        raise ValueError(f"rho (PSEUDO_LABELS.DBSCAN.RHO) is {rho}; it must lie in (0, 1]")
    # Each pair is stored twice, which changes no mean.
    stored = graph.data[graph.data > ZERO_DISTANCE]
    num_duplicates = (graph.nnz - len(stored)) // 2
    num_stored = len(stored) // 2
    num_pairs = graph.shape[0] * (graph.shape[0] - 1) // 2 - num_duplicates
    if num_pairs == 0:
        logger.warning(
            "No two of the %d images are distinct: the DBSCAN radius joins duplicates only.", graph.shape[0]
        )
        return ZERO_DISTANCE
    wanted = round(rho * num_pairs)
    if wanted == 0:
        logger.warning(
            "PSEUDO_LABELS.DBSCAN.RHO %g of %d pairs is none: the DBSCAN radius is the smallest distance.",
            rho,
            num_pairs,
        )
        wanted = 1
    if wanted >= num_stored:
        return float((stored.sum(dtype=np.float64) / 2 + (wanted - num_stored)) / wanted)
    return float(np.partition(stored, 2 * wanted - 1)[: 2 * wanted].mean(dtype=np.float64))
