"""How well pseudo labels agree with annotations, for logs only: training never sees it. Shapes: N images."""

import numpy as np
from scipy.sparse import csr_array
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from mmt_plugin.pseudo_labels.labels import with_singletons


def agreement(labels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Compare pseudo labels with true identities over all images.

    An image of no cluster counts as a cluster of its own. Leaving it out would let a clustering that gives up
    on every hard image look perfect.

    Args:
        labels: N integers, -1 for an image of no cluster.
        truth: N integers.

    Returns:
        "ARI", the adjusted Rand index (0 is chance, 1 is equal), and "NMI", the normalised mutual information
        (0 to 1).

    Raises:
        ValueError: if there are no images or the lengths differ.
    """
    labels, truth = np.asarray(labels), np.asarray(truth)
    if labels.ndim != 1 or labels.shape != truth.shape or len(labels) == 0:
        raise ValueError(
            f"expected labels and truth of the same N >= 1 images, got {labels.shape} and {truth.shape}"
        )
    labels = with_singletons(labels)
    return {
        "ARI": float(adjusted_rand_score(truth, labels)),
        "NMI": float(normalized_mutual_info_score(truth, labels)),
    }


def cluster_identities(labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The commonest identity of each cluster, C integers; of equally common ones the smallest.

    Args:
        labels: N integers, dense from 0; -1 for an image of no cluster.
        truth: N integers from 0.
    """
    clustered = labels >= 0
    ones = np.ones(np.count_nonzero(clustered), int)
    # Entries of the same place add up.
    counts = csr_array((ones, (labels[clustered], truth[clustered])))
    identities = np.asarray(counts.argmax(axis=1))
    if identities.shape != counts.shape[:1]:  # SciPy before 1.14: C x 1
        identities = identities.reshape(counts.shape[0])
    return identities
