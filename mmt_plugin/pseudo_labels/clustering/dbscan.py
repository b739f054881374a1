"""DBSCAN on a sparse graph of distances. Shapes: N images.

Labels are int64, dense from 0; -1 marks an image of no cluster.
"""

import logging

import numpy as np
from scipy.sparse import csr_array
from sklearn.cluster import DBSCAN

from mmt_plugin.pseudo_labels.choices import demand, radius_rule

logger = logging.getLogger("fastreid.mmt.pseudo_labels")
# The radius that joins duplicates only: they are at Jaccard distance 0 up to float32 rounding.
ZERO_DISTANCE = 1e-6


def dbscan(graph: csr_array, eps: float, min_samples: int) -> np.ndarray:
    """Cluster a sparse distance graph by scikit-learn's DBSCAN, with the labels of the dense matrix.

    Args:
        graph: N x N symmetric distances without diagonal, holding at least all pairs at eps or less.
        eps: neighbourhood radius in [0, 1).
        min_samples: images, the image itself included, within eps that make it a core image.

    Returns:
        N int64 labels.

    Raises:
        ValueError: if eps or min_samples lies outside its range.
    """
    demand(radius_rule(eps))
    if min_samples < 1:
        raise ValueError(
            f"min_samples (PSEUDO_LABELS.DBSCAN.MIN_SAMPLES) is {min_samples}; it must be at least 1"
        )
    num_images = graph.shape[0]
    if num_images == 0:
        return np.empty(0, dtype=np.int64)
    # What is within eps is selected here, in the precision of the distances. All of it is then within any
    # radius that scikit-learn accepts (0 it does not), and equal distances spare it sorting every row.
    near = graph.data <= graph.dtype.type(eps)
    ends = np.concatenate([[0], np.cumsum(near)])[graph.indptr].astype(graph.indptr.dtype)
    within = csr_array((np.zeros(ends[-1], graph.dtype), graph.indices[near], ends), shape=graph.shape)
    model = DBSCAN(eps=1.0, min_samples=min_samples, metric="precomputed")
    return model.fit_predict(within).astype(np.int64)


def rho_eps(graph: csr_array, rho: float) -> float:
    """Choose the DBSCAN radius from the density of the data, by the rule of yxgeee/MMT.

    The radius is the mean of the smallest round(rho * n) of the n distances that are not exactly 0. At least
    one distance is taken. rho presumes the identity density of a data set like Market-1501 and is far too
    strict for small sets.

    Args:
        graph: N x N from `jaccard_graph` with max_distance 1, so that a pair that is not stored is at 1.
        rho: share of the pairs, in (0, 1].

    Returns:
        The radius; 1e-6, which joins duplicates only, where all distances are 0.

    Raises:
        ValueError: if rho lies outside (0, 1].
    """
    if not 0 < rho <= 1:
        raise ValueError(f"rho (PSEUDO_LABELS.DBSCAN.RHO) is {rho}; it must lie in (0, 1]")
    # Each pair is stored twice, which changes no mean.
    stored = graph.data[graph.data > 0]
    num_zeros = (graph.nnz - len(stored)) // 2
    num_stored = len(stored) // 2
    num_pairs = graph.shape[0] * (graph.shape[0] - 1) // 2 - num_zeros
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
