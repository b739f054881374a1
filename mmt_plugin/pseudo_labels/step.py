"""The label step of one epoch: features and configuration in, PseudoLabels out.

Shapes: N images, D feature size, P pairs.
"""

import logging
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

from .choices import EPS_RULES, METHODS, OUTLIERS, SEARCHES, choice_rule, demand, radius_rule
from .clustering.auto_radius import RADII, auto_eps
from .clustering.cannot_link import separate_conflicts
from .clustering.dbscan import dbscan, rho_eps
from .clustering.kmeans import kmeans
from .clustering.must_link import link_tracklets
from .clustering.reliability import reliable_labels
from .inputs import as_feature_matrix, search_device
from .jaccard.camera_aware import camera_aware_jaccard_graph
from .jaccard.graph import graph_from_neighbours, neighbour_lists
from .labels import PseudoLabels, with_singletons
from .timing import Stages

logger = logging.getLogger("fastreid.mmt.pseudo_labels")


def cluster(
    features: np.ndarray | torch.Tensor,
    cfg: Any,
    *,
    cameras: np.ndarray | None = None,
    tracklets: np.ndarray | None = None,
    cannot_link: np.ndarray | None = None,
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
        cannot_link: P x 2 tracklets that are of different identities and therefore get different labels, see
            `separate_conflicts`; needs `tracklets`. None: nothing is separated.
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
    demand(choice_rule("METHOD", node.METHOD, tuple(METHODS)))
    demand(choice_rule("OUTLIERS", node.OUTLIERS, OUTLIERS))
    device = search_device(features, device)
    features = as_feature_matrix(features)
    stages = stages or Stages()
    labels, origin = METHODS[node.METHOD](features, node, cameras, previous, device, stages)
    if tracklets is not None:
        labels = link_tracklets(labels, tracklets)
        if cannot_link is not None:
            labels = separate_conflicts(labels, features, tracklets, cannot_link)
    num_outliers = int((labels < 0).sum())
    if node.OUTLIERS == "singletons":
        labels = with_singletons(labels, tracklets)
    with stages.stage("centroids"):
        result = PseudoLabels.from_features(labels, features, **origin)
    logger.info(
        "Pseudo labels of %d images: %d clusters, %d outliers (%s), largest cluster %d%s; %s.",
        len(labels),
        result.num_clusters,
        num_outliers,
        "dropped" if node.OUTLIERS == "drop" else "kept as singletons",
        result.largest,
        "" if result.eps is None else f", eps {result.eps:.4g}",
        stages,
    )
    return result


def dbscan_labels(
    features: np.ndarray,
    node: Any,
    cameras: np.ndarray | None,
    previous: PseudoLabels | None,
    device: torch.device,
    stages: Stages,
) -> tuple[np.ndarray, dict[str, float | None]]:
    """Labels by DBSCAN on a Jaccard graph, and what `PseudoLabels` records of their origin; see `METHODS`."""
    demand(choice_rule("DBSCAN.EPS_RULE", node.DBSCAN.EPS_RULE, EPS_RULES))
    eps = None if previous is None else previous.eps
    if eps is None and node.DBSCAN.EPS_RULE == "fixed":
        eps = node.DBSCAN.EPS
    gap = node.RELIABILITY.EPS_GAP if node.RELIABILITY.ENABLED else 0.0
    if eps is not None:
        demand(radius_rule(eps + gap))
    # The rho rule looks at all distances; a known radius needs those up to and at it.
    reach = RADII[-1] if eps is None and node.DBSCAN.EPS_RULE == "auto" else eps
    bound = None if reach is None else float(np.nextafter(np.float32(reach + gap), np.float32(1)))
    graph, recall = _jaccard_graph(features, node, cameras, bound, device, stages)
    with stages.stage("DBSCAN"):
        if eps is None and node.DBSCAN.EPS_RULE == "auto":
            eps = auto_eps(graph, features, node.DBSCAN.MIN_SAMPLES)
        elif eps is None:
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


def kmeans_labels(
    features: np.ndarray,
    node: Any,
    cameras: np.ndarray | None,
    previous: PseudoLabels | None,
    device: torch.device,
    stages: Stages,
) -> tuple[np.ndarray, dict[str, float | None]]:
    """Labels by k-means on the features; see `METHODS`."""
    keys = node.KMEANS
    with stages.stage("k-means"):
        return kmeans(features, keys.NUM_CLUSTERS, keys.NUM_ITERATIONS, keys.SEED, keys.NUM_RESTARTS), {}


def _jaccard_graph(
    features: np.ndarray,
    node: Any,
    cameras: np.ndarray | None,
    bound: float | None,
    device: torch.device,
    stages: Stages,
) -> tuple[csr_array, float | None]:
    """The graph that the keys ask for, and the recall of an approximate search."""
    demand(choice_rule("SEARCH", node.SEARCH, SEARCHES))
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
