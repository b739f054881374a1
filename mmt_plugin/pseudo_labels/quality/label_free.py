"""How good pseudo labels are as far as one can tell without annotations.

Shapes: V networks, N images, D feature size, C clusters, S sampled images.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import torch

from mmt_plugin.pseudo_labels.clustering.cannot_link import conflicts
from mmt_plugin.pseudo_labels.clustering.dbscan import ZERO_DISTANCE
from mmt_plugin.pseudo_labels.labels import PseudoLabels, with_singletons

from .agreement import agreement
from .nuisances import FOLLOWED, follows
from .size import LARGE

# Lists that are compared between networks, and images that are looked at where all would take long.
NEIGHBOURS = 10
MAX_NEIGHBOUR_LISTS = 1_000
MAX_SILHOUETTES = 4_000
# Similarities that are in memory at a time.
BLOCK = 50_000_000


def label_free_quality(
    found: PseudoLabels,
    features: np.ndarray,
    networks: np.ndarray,
    *,
    previous: PseudoLabels | None = None,
    cameras: np.ndarray | None = None,
    together: tuple[np.ndarray, np.ndarray] | None = None,
    poses: np.ndarray | None = None,
) -> dict[str, float]:
    """All that can be told of a labelling without annotations.

    Args:
        found: the labelling of N images.
        features: N x D, those that were clustered; rows of images that could not be read are NaN.
        networks: V x N x D, the features of each network.
        previous: the labelling in use, of the same images; None at the first.
        cameras: N camera numbers; None where they are not known.
        together: N tracklets and P x 2 pairs of them that are different people, see `seen_together`; None
            where they are not known.
        poses: N numbers of `pose_groups`; None where they were not looked for.

    Returns:
        Where there is enough to compute them from:
        "clustered": share of the images that are in a cluster.
        "median_size": images of the median cluster.
        "cross_camera": share of the clusters with images of several cameras.
        "conflicts": share of the pairs of tracklets seen together that share a cluster all the same.
        "follows_cameras", "follows_poses": see `follows`.
        "silhouette": see `silhouette`.
        "twin_agreement": mean of `common_neighbours` over all pairs of networks.
        "stability": see `stability`.
        "score": stability * max(silhouette, 0) * clustered, by which MMT.SELECTION.RULE "stable" chooses. It
            is high where a new look at the images confirms the labels in use, clusters are apart, and
            few images are given up; a labelling that buys one with another gains nothing.
        "largest": share of the images that are in the largest cluster; only with poses.
        "guard": see `guard`, by which MMT.SELECTION.RULE "guarded" chooses; only with poses.
    """
    labels, readable = found.labels, ~np.isnan(features).any(axis=1)
    rows = slice(None) if readable.all() else readable  # a slice copies nothing
    quality = {"clustered": float((labels >= 0).mean())}
    if found.num_clusters:
        quality["median_size"] = float(np.median(found.counts))
        if cameras is not None:
            quality["cross_camera"] = _cross_camera(labels, cameras)
        for name, groups in (("cameras", cameras), ("poses", poses)):
            if groups is not None:
                quality[f"follows_{name}"] = follows(labels, groups)
    if together is not None:
        tracklets, exclusive = together
        quality["conflicts"] = conflicts(labels, tracklets, exclusive) / len(exclusive)
    if len(networks) > 1:
        pairs = combinations((network[rows] for network in networks), 2)
        quality["twin_agreement"] = float(np.mean([common_neighbours(one, two) for one, two in pairs]))
    if previous is not None:
        quality["stability"] = stability(labels, previous.labels)
    if found.num_clusters > 1:
        quality["silhouette"] = silhouette(features[rows], labels[rows])
    if "stability" in quality and "silhouette" in quality:
        quality["score"] = quality["stability"] * max(quality["silhouette"], 0.0) * quality["clustered"]
    if poses is not None:
        quality["largest"] = found.largest / len(labels)
        quality["guard"] = guard(quality)
    return quality


def guard(quality: Mapping[str, float]) -> float:
    """How far a labelling can be trusted that nothing confirms but itself: silhouette times the share of
    clustered images, less what clusters follow of a nuisance beyond `FOLLOWED`, and what a single one holds
    beyond `LARGE`. Unlike "score" it needs no earlier labelling, so that the models a run starts from have
    one, too.

    Args:
        quality: of `label_free_quality`.
    """
    followed = max(quality.get("follows_cameras", 0.0), quality.get("follows_poses", 0.0))
    doubt = max(followed - FOLLOWED, 0.0) / (1 - FOLLOWED) + max(quality["largest"] - LARGE, 0.0)
    return max(quality.get("silhouette", 0.0), 0.0) * quality["clustered"] * max(1 - doubt, 0.0)


def stability(labels: np.ndarray, previous: np.ndarray) -> float:
    """Adjusted Rand index of two labellings of the same N images; 1 is the same clusters, 0 chance.

    An image of no cluster counts as a cluster of its own in either: an image that comes into or falls out of
    a cluster lowers it.
    """
    return agreement(labels, with_singletons(previous))["ARI"]


def silhouette(features: np.ndarray, labels: np.ndarray, max_images: int = MAX_SILHOUETTES) -> float:
    """Mean silhouette (Rousseeuw, 1987) of the clustered images, by cosine distance between features.

    An image's value is (b - a) / max(a, b): a is its mean distance to the others of its cluster, b to the
    images of the nearest other one; 0 in a cluster of its own. Features and not Jaccard distances, because
    k-means has none, and DBSCAN has chosen its clusters by them. The mean cosine distance to a cluster is the
    distance to the mean of its unit vectors, so that no image is compared with every other.

    Args:
        features: N x D; normalised here.
        labels: N integers, dense from 0, -1 for an image of no cluster, which is left out.
        max_images: more are sampled evenly; the clusters they are compared with stay whole.

    Returns:
        In [-1, 1].

    Raises:
        ValueError: if there are fewer than two clusters.
    """
    clustered = np.flatnonzero(labels >= 0)
    own = labels[clustered]
    counts = np.bincount(own)
    if len(counts) < 2:
        raise ValueError(f"a silhouette needs at least two clusters; there are {len(counts)}")
    units = torch.nn.functional.normalize(torch.as_tensor(features[clustered]).float(), dim=1)
    sums = torch.zeros(len(counts), units.shape[1])
    sums.index_add_(0, torch.as_tensor(own), units)
    rows = _evenly(len(own), max_images)
    own, sizes = own[rows], counts[own[rows]]
    distances = 1 - (units[rows] @ sums.T).numpy() / counts
    distances[distances < ZERO_DISTANCE] = 0
    place = np.arange(len(own))
    inner = distances[place, own] * sizes / np.maximum(sizes - 1, 1)
    distances[place, own] = np.inf
    outer = distances.min(axis=1)
    larger = np.maximum(np.maximum(inner, outer), ZERO_DISTANCE)
    return float(np.where(sizes > 1, (outer - inner) / larger, 0.0).mean())


def common_neighbours(
    one: np.ndarray, two: np.ndarray, k: int = NEIGHBOURS, max_images: int = MAX_NEIGHBOUR_LISTS
) -> float:
    """Mean share of an image's k nearest others that two networks have in common.

    It needs neither clusters nor classifiers, so it tells of the features alone, and costs 2 * S * N * D.

    Args:
        one: N x D features of the first network; normalised here.
        two: N x D' features of the second.
        k: cut to N - 1.
        max_images: lists of at most so many images, evenly spread, are compared; neighbours come from all.

    Returns:
        In [0, 1]; chance is k / (N - 1).

    Raises:
        ValueError: if there are fewer than two images.
    """
    if len(one) < 2:
        raise ValueError("a neighbour needs at least two images")
    rows = _evenly(len(one), max_images)
    k = min(k, len(one) - 1)
    first, second = (_nearest(features, rows, k) for features in (one, two))
    return float((first[:, :, None] == second[:, None, :]).sum() / first.size)


def _nearest(features: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    """S x k indices of the nearest images by cosine similarity, the image itself excluded."""
    units = torch.nn.functional.normalize(torch.as_tensor(features), dim=1)
    parts = []
    for block in np.array_split(rows, -(-len(rows) * len(units) // BLOCK)):
        similarity = units[block] @ units.T
        similarity[np.arange(len(block)), block] = -np.inf
        parts.append(similarity.topk(k, dim=1).indices.numpy())
    return np.concatenate(parts)


def _evenly(num_images: int, limit: int) -> np.ndarray:
    """At most `limit` of N indices, evenly spread: the same ones in every epoch."""
    return np.unique(np.linspace(0, num_images - 1, min(num_images, limit)).round().astype(int))


def _cross_camera(labels: np.ndarray, cameras: np.ndarray) -> float:
    """Share of the clusters with images of more than one camera."""
    pairs = np.unique(np.stack([labels, cameras])[:, labels >= 0], axis=1)
    return float((np.bincount(pairs[0]) > 1).mean())
