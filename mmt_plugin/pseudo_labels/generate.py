"""The label step of one epoch: features and configuration in, PseudoLabels out.

Shapes: N images, D feature size.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from .clusters import check_eps, dbscan, kmeans, rho_eps
from .inputs import as_feature_matrix
from .jaccard import graph_from_neighbours, neighbour_lists
from .labels import PseudoLabels

logger = logging.getLogger("fastreid.mmt.pseudo_labels")


def cluster(features: np.ndarray | torch.Tensor, cfg: Any, *, eps: float | None = None) -> PseudoLabels:
    """Cluster images by their features, as the configuration says.

    A clustering may come out degenerate: no cluster, a single one, outliers only. Such a result is returned
    like any other, with empty arrays where there is nothing; whether one can train on it is the caller's
    decision.

    Args:
        features: N x D, any floating type. L2-normalised by the caller for DBSCAN; k-means takes them either
            way.
        cfg: a configuration with a PSEUDO_LABELS node, or that node.
        eps: DBSCAN radius to use in place of the configured rule's: `PseudoLabels.eps` of the first epoch
            keeps the rho rule's radius for the run.

    Returns:
        Labels, centroids and counts.

    Raises:
        TypeError: if the features are not floating point.
        ValueError: if features are not a finite N x D matrix, or a key has a value outside its range.
    """
    node = getattr(cfg, "PSEUDO_LABELS", cfg)
    _check_choice("METHOD", node.METHOD, ("dbscan", "kmeans"))
    _check_choice("OUTLIERS", node.OUTLIERS, ("drop", "singletons"))
    features = as_feature_matrix(features)
    seconds: dict[str, float] = {}
    if node.METHOD == "dbscan":
        labels, eps = _dbscan_labels(features, node, eps, seconds)
    elif eps is not None:
        raise ValueError(f"a DBSCAN radius of {eps} was given, but PSEUDO_LABELS.METHOD is {node.METHOD!r}")
    else:
        with _timed(seconds, "k-means"):
            labels = kmeans(features, node.KMEANS.NUM_CLUSTERS, node.KMEANS.NUM_ITERATIONS, node.KMEANS.SEED)
    num_outliers = int((labels < 0).sum())
    if node.OUTLIERS == "singletons":
        labels = _outliers_as_singletons(labels)
    result = PseudoLabels.from_features(labels, features, eps)
    logger.info(
        "Pseudo labels of %d images: %d clusters, %d un-clustered images (%s), largest cluster %d%s; %s.",
        len(labels),
        result.num_clusters,
        num_outliers,
        "dropped" if node.OUTLIERS == "drop" else "kept as singletons",
        result.largest,
        "" if eps is None else f", eps {eps:.4g}",
        ", ".join(f"{stage} {duration:.2f} s" for stage, duration in seconds.items()),
    )
    return result


def _dbscan_labels(
    features: np.ndarray, node: Any, eps: float | None, seconds: dict[str, float]
) -> tuple[np.ndarray, float]:
    """Labels by DBSCAN on the Jaccard graph, and the radius they were made with."""
    _check_choice("DBSCAN.EPS_RULE", node.DBSCAN.EPS_RULE, ("fixed", "rho"))
    if eps is None and node.DBSCAN.EPS_RULE == "fixed":
        eps = node.DBSCAN.EPS
    if eps is not None:
        check_eps(eps)
    with _timed(seconds, "k-NN"):
        neighbours = neighbour_lists(features, node.K1, node.K1_INCLUDES_SELF)
    with _timed(seconds, "Jaccard graph"):
        # The rho rule looks at all distances; a known radius needs those up to and at it.
        bound = None if eps is None else float(np.nextafter(np.float32(eps), np.float32(1)))
        graph = graph_from_neighbours(
            features, neighbours, node.K1, node.K2, bound, weights=node.JACCARD_WEIGHTS
        )
    with _timed(seconds, "DBSCAN"):
        if eps is None:
            eps = rho_eps(graph, node.DBSCAN.RHO)
        labels = dbscan(graph, eps, node.DBSCAN.MIN_SAMPLES)
    return labels, eps


def _outliers_as_singletons(labels: np.ndarray) -> np.ndarray:
    """Number the images of no cluster after the clusters, one each."""
    outliers = labels < 0
    labels = labels.copy()
    labels[outliers] = labels.max(initial=-1) + 1 + np.arange(outliers.sum())
    return labels


def _check_choice(key: str, value: str, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise ValueError(
            f"PSEUDO_LABELS.{key} is {value!r}; clustering accepts {', '.join(map(repr, accepted))}"
        )


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Record the wall time of a stage."""
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
