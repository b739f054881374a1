"""Reliable clusters only: the self-paced criterion over three radii. Shapes: N images, C clusters.

Source: Ge et al., "Self-paced Contrastive Learning with Hybrid Memory for Domain Adaptive Object Re-ID"
    (NeurIPS 2020),
section 3.2, as open-mmlab/OpenUnReID computes it.

A cluster is independent if a looser radius hardly merges it with others, and an image belongs compactly if a
tighter radius hardly separates it from its cluster. All that is needed are the sizes of the overlaps of the
three clusterings: no pair of images is ever compared.
"""

import numpy as np

from mmt_plugin.pseudo_labels.labels import with_singletons

# Share of the clusters that count as independent, by which the threshold is set at the first call.
INDEPENDENT_SHARE = 0.9


def reliable_labels(
    labels: np.ndarray, tight: np.ndarray, loose: np.ndarray, threshold: float | None = None
) -> tuple[np.ndarray, float]:
    """Take the unreliable images out of their clusters.

    An image leaves its cluster if the cluster's independence score exceeds the threshold, or if its own
    compactness score exceeds the cluster's smallest one. Scores are 1 less the intersection over union of the
    image's cluster with its cluster under the loose radius (independence, the smallest of the cluster counts)
    or the tight one (compactness), an image of no cluster being one of its own. What is left of a single
    image is no cluster.

    Args:
        labels: N int64 labels under the middle radius, -1 for an image of no cluster.
        tight: N labels under the smaller radius.
        loose: N labels under the larger radius.
        threshold: independence score above which a cluster dissolves. None at the first call, which sets it
            to the score that nine of ten clusters do not exceed.

    Returns:
        labels: N int64; dense from 0, -1 for an image of no cluster.
        threshold: the one that was used, for the next call.
    """
    clustered = np.flatnonzero(labels >= 0)
    own = labels[clustered]
    compactness = _dissimilarity(labels, tight)[clustered]
    smallest_compactness = _smallest(compactness, own)
    independence = _smallest(_dissimilarity(labels, loose)[clustered], own)
    if threshold is None:
        threshold = _independence_threshold(independence, np.bincount(own))
    stays = (independence[own] <= threshold) & (compactness <= smallest_compactness[own])
    kept = np.full(len(labels), -1, dtype=np.int64)
    sizes = np.bincount(own[stays], minlength=len(independence))
    members = clustered[stays & (sizes[own] > 1)]
    kept[members] = np.unique(labels[members], return_inverse=True)[1]
    return kept, threshold


def _dissimilarity(labels: np.ndarray, other: np.ndarray) -> np.ndarray:
    """N: 1 - |A n B| / |A u B| of each image's clusters A and B under both labellings."""
    one, two = with_singletons(labels), with_singletons(other)
    pairs = one * (two.max(initial=0) + 1) + two
    _, pair_of_image, sizes = np.unique(pairs, return_inverse=True, return_counts=True)
    shared = sizes[pair_of_image]
    union = np.bincount(one)[one] + np.bincount(two)[two] - shared
    return 1 - shared / union


def _smallest(scores: np.ndarray, own: np.ndarray) -> np.ndarray:
    """C: the smallest score among each cluster's images."""
    smallest = np.full(own.max(initial=-1) + 1, np.inf)
    np.minimum.at(smallest, own, scores)
    return smallest


def _independence_threshold(scores: np.ndarray, sizes: np.ndarray) -> float:
    """The score at nine tenths of the sorted scores of clusters with more than one image; 1 without any."""
    ranked = np.sort(scores[sizes > 1])
    if len(ranked) == 0:
        return 1.0
    return float(ranked[min(len(ranked) - 1, round(len(ranked) * INDEPENDENT_SHARE))])
