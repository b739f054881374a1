"""The label step of one epoch: features and configuration in, PseudoLabels out.

Shapes: N images, D feature size.
"""

import logging
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

from mmt_plugin.pseudo_labels.clustering.dbscan import check_eps, dbscan, rho_eps
from mmt_plugin.pseudo_labels.clustering.kmeans import kmeans
from mmt_plugin.pseudo_labels.clustering.must_link import link_tracklets
from mmt_plugin.pseudo_labels.clustering.reliability import reliable_labels
from mmt_plugin.pseudo_labels.jaccard.camera_aware import camera_aware_jaccard_graph
from mmt_plugin.pseudo_labels.jaccard.graph import graph_from_neighbours, neighbour_lists
from mmt_plugin.pseudo_labels.neighbours.nearest import SEARCHES

from .inputs import as_feature_matrix, search_device
from .labels import PseudoLabels, with_singletons
from .timing import Stages

logger = logging.getLogger("fastreid.mmt.pseudo_labels")


def cluster(
    features: np.ndarray | torch.Tensor,
    cfg: Any,
    *,
    cameras: np.ndarray | None = None,
    tracklets: np.ndarray | None = None,
    previous: PseudoLabels | None = None,
    device: str | torch.device | None = None,
    stages: Stages | None = None,
) -> PseudoLabels:
    """Cluster images by their features, as the configuration says.

    A clustering may come out degenerate: no cluster, a single one, outliers only. Such a result is returned
    like any other, with empty arrays where there is nothing; whether one can train on it is the caller's
    decision.

    Args:
        features: N x D, any floating type. L2-normalised by the caller for DBSCAN; k-means takes them either
            way.
        cfg: a configuration with a PSEUDO_LABELS node, or that node.
        cameras: N camera numbers, needed if PSEUDO_LABELS.CAMERA_AWARE is enabled.
        tracklets: N tracklet numbers from 0, -1 for an image of none; those of one tracklet then share a
            label, see `link_tracklets`. None: nothing is linked.
        previous: an earlier result of the same run, whose DBSCAN radius and independence threshold are kept.
        device: where the exact neighbour search runs. None: where the features are.
        stages: is told how long each part took; None: the log alone is.

    Returns:
        Labels, centroids and counts.

    Raises:
        TypeError: if the features are not floating point.
        ValueError: if features are not a finite N x D matrix, or a key has a value outside its range.
    """
    node = getattr(cfg, "PSEUDO_LABELS", cfg)
    _check_choice("METHOD", node.METHOD, tuple(METHODS))
    _check_choice("OUTLIERS", node.OUTLIERS, ("drop", "singletons"))
    device = search_device(features, device)
    features = as_feature_matrix(features)
    stages = stages or Stages()
    labels, origin = METHODS[node.METHOD](features, node, cameras, previous, device, stages)
    if tracklets is not None:
        labels = link_tracklets(labels, tracklets)
    num_outliers = int((labels < 0).sum())
    if node.OUTLIERS == "singletons":
        labels = with_singletons(labels, tracklets)
    with stages.stage("centroids"):
        result = PseudoLabels.from_features(labels, features, **origin)
    logger.info(
        "Pseudo labels of %d images: %d clusters, %d un-clustered images (%s), largest cluster %d%s; %s.",
        len(labels),
        result.num_clusters,
        num_outliers,
        "dropped" if node.OUTLIERS == "drop" else "kept as singletons",
        result.largest,
        "" if result.eps is None else f", eps {result.eps:.4g}",
        stages,
    )
    return result


def _dbscan_labels(
    features: np.ndarray,
    node: Any,
    cameras: np.ndarray | None,
    previous: PseudoLabels | None,
    device: torch.device,
    stages: Stages,
) -> tuple[np.ndarray, dict[str, float | None]]:
    """Labels by DBSCAN on a Jaccard graph, and what `PseudoLabels` records of their origin."""
    _check_choice("DBSCAN.EPS_RULE", node.DBSCAN.EPS_RULE, ("fixed", "rho"))
    eps = None if previous is None else previous.eps
    if eps is None and node.DBSCAN.EPS_RULE == "fixed":
        eps = node.DBSCAN.EPS
    gap = node.RELIABILITY.EPS_GAP if node.RELIABILITY.ENABLED else 0.0
    if eps is not None:
        check_eps(eps + gap)
    # The rho rule looks at all distances; a known radius needs those up to and at it.
    bound = None if eps is None else float(np.nextafter(np.float32(eps + gap), np.float32(1)))
    graph, recall = _jaccard_graph(features, node, cameras, bound, device, stages)
    with stages.stage("DBSCAN"):
        if eps is None:
            eps = rho_eps(graph, node.DBSCAN.RHO)
        labels = dbscan(graph, eps, node.DBSCAN.MIN_SAMPLES)
    independence = None
    if node.RELIABILITY.ENABLED:
        with stages.stage("reliability"):
            tight = dbscan(graph, max(eps - gap, 0.0), node.DBSCAN.MIN_SAMPLES)
            loose = dbscan(graph, eps + gap, node.DBSCAN.MIN_SAMPLES)
            threshold = None if previous is None else previous.independence
            labels, independence = reliable_labels(labels, tight, loose, threshold)
    return labels, {"eps": eps, "independence": independence, "recall": recall}


def _kmeans_labels(
    features: np.ndarray,
    node: Any,
    cameras: np.ndarray | None,
    previous: PseudoLabels | None,
    device: torch.device,
    stages: Stages,
) -> tuple[np.ndarray, dict[str, float | None]]:
    """Labels by k-means on the features."""
    with stages.stage("k-means"):
        keys = node.KMEANS
        return kmeans(features, keys.NUM_CLUSTERS, keys.NUM_ITERATIONS, keys.SEED), {}


def _jaccard_graph(
    features: np.ndarray,
    node: Any,
    cameras: np.ndarray | None,
    bound: float | None,
    device: torch.device,
    stages: Stages,
) -> tuple[csr_array, float | None]:
    """The graph that the keys ask for, and the recall of an approximate search."""
    _check_choice("SEARCH", node.SEARCH, SEARCHES)
    aware = node.CAMERA_AWARE
    if aware.ENABLED:
        if cameras is None:
            raise ValueError("PSEUDO_LABELS.CAMERA_AWARE.ENABLED is True, but no camera numbers were given")
        widths = (aware.K1_INTRA, aware.K1_INTER, aware.K2_INTRA, aware.K2_INTER)
        with stages.stage("camera-aware Jaccard graph"):
            return camera_aware_jaccard_graph(features, cameras, *widths, bound, device=device), None
    with stages.stage("k-NN"):
        neighbours = neighbour_lists(
            features, node.K1, node.K1_INCLUDES_SELF, search=node.SEARCH, device=device
        )
    with stages.stage("Jaccard graph"):
        graph = graph_from_neighbours(
            features, neighbours, node.K1, node.K2, bound, weights=node.JACCARD_WEIGHTS
        )
    return graph, neighbours.recall


def _check_choice(key: str, value: str, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise ValueError(
            f"PSEUDO_LABELS.{key} is {value!r}; clustering accepts {', '.join(map(repr, accepted))}"
        )


# By PSEUDO_LABELS.METHOD: features (N x D float32), the keys of PSEUDO_LABELS, camera numbers, an earlier
# result, the device of the neighbour search and a clock of stages -> N labels, -1 for images of no cluster,
# and what `PseudoLabels` records of their origin.
METHODS = {"dbscan": _dbscan_labels, "kmeans": _kmeans_labels}
