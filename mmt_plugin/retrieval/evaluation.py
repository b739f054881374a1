"""One evaluation of a test set, from features to metrics. Shapes: Q queries, G gallery images, N = Q + G, D
feature size.

Everything that ranks a test set, be it in training or afterwards, of one run or of several, goes through
here; a ranking of one's own does as well:

    extractor = FeatureExtractor("logs/market2duke")
    measured = evaluate(extractor(query), extractor(gallery), query_ids, gallery_ids, query_cameras, ...)
    measured.metrics["mAP"], measured.counts
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from mmt_plugin.pseudo_labels.inputs import as_feature_matrix

from .distances import UNIT, ImageDistances
from .draws import mean_over_draws
from .expansion import expanded_features
from .ranking import Ranking, rank_in_blocks
from .reranking import rerank_distances
from .verification import true_positive_rates

METRICS = ("cosine", "euclidean")


@dataclass(frozen=True)
class Method:
    """How a gallery is ranked and measured: the keys of TEST that change digits after the features are made.

    Attributes:
        metric: "cosine" compares directions (features are L2-normalised), "euclidean" features as they are.
        expansion_size: images whose mean takes a feature's place (average query expansion), the image itself
            among them; 0: none.
        expansion_rounds: how often.
        expansion_power: to which similarities are raised as weights of the mean.
        reranks: whether k-reciprocal re-ranking follows, with the four values below.
        k1, k2, lambda_value, power: see `rerank_distances`.
        top_k: images of a list that count, junk included; 0: all.
        gallery_draws: VehicleID's protocol (`draws`): so many random galleries of one image of each identity,
            over which metrics are averaged; 0: queries and gallery as they are given.
        roc: whether true positive rates of pairs are measured, too.
    """

    metric: str = "cosine"
    expansion_size: int = 0
    expansion_rounds: int = 1
    expansion_power: float = 3.0
    reranks: bool = False
    k1: int = 20
    k2: int = 6
    lambda_value: float = 0.3
    power: int = 1
    top_k: int = 0
    gallery_draws: int = 0
    roc: bool = False

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(
                f"metric (TEST.METRIC) is {self.metric!r}; it must be one of {', '.join(METRICS)}"
            )

    @classmethod
    def from_config(cls, test: Any) -> Method:
        """What the node TEST of a configuration asks for."""
        expansion_size = test.AQE.QE_K
        return cls(
            metric=test.METRIC,
            expansion_size=expansion_size if test.AQE.ENABLED else 0,
            expansion_rounds=test.AQE.QE_TIME,
            expansion_power=test.AQE.ALPHA,
            reranks=test.RERANK.ENABLED,
            k1=test.RERANK.K1,
            k2=test.RERANK.K2,
            lambda_value=test.RERANK.LAMBDA,
            power=test.RERANK.POWER,
            top_k=test.TOP_K,
            gallery_draws=test.GALLERY_DRAWS,
            roc=test.ROC.ENABLED,
        )

    def prepared(self, features: np.ndarray) -> np.ndarray:
        """N x D features as they are compared: expanded, and of unit length where only directions count.

        There they are also of unit length before they are averaged: a mean of directions does not depend on
        how long a network makes its features.
        """
        features = normalised(features) if self.metric == "cosine" else features
        if not self.expansion_size:
            return features
        expanded = expanded_features(
            features, self.expansion_size, self.expansion_rounds, self.expansion_power
        )
        return normalised(expanded) if self.metric == "cosine" else expanded

    def reranked(self, distances: ImageDistances) -> np.ndarray:
        """Q x G distances after re-ranking."""
        return rerank_distances(distances, self.k1, self.k2, self.lambda_value, self.power)

    def blocks(self, distances: ImageDistances) -> Iterable[np.ndarray]:
        """Q x G distances as they are ranked, in blocks of queries."""
        return [self.reranked(distances)] if self.reranks else distances.query_blocks()


@dataclass(frozen=True)
class Counts:
    """What an evaluation was made of.

    Attributes:
        queries: that have a match in the gallery under another camera, and count.
        left_out: that have none, and do not.
        gallery: images.
        cameras: of queries and gallery.
    """

    queries: int
    left_out: int
    gallery: int
    cameras: int

    def __str__(self) -> str:
        return (
            f"{self.queries} queries used, {self.left_out} left out (no match under another camera), "
            f"{self.gallery} gallery images, {self.cameras} cameras"
        )

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class Measured:
    """An evaluation's result.

    Attributes:
        metrics: in percent, by fastreid's names; "TPR@FPR=..." are shares.
        counts: what they are of.
    """

    metrics: dict[str, float]
    counts: Counts


@dataclass(frozen=True, eq=False)
class Labels:
    """Identities and cameras of a test set: integers, Q or G each."""

    query_ids: np.ndarray
    gallery_ids: np.ndarray
    query_cameras: np.ndarray
    gallery_cameras: np.ndarray

    @property
    def all(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.query_ids, self.gallery_ids, self.query_cameras, self.gallery_cameras


def evaluate(
    query: np.ndarray | torch.Tensor,
    gallery: np.ndarray | torch.Tensor,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray,
    method: Method | None = None,
) -> Measured:
    """Rank a gallery for every query, and measure.

    Args:
        query, gallery: Q x D and G x D features, any floating type.
        query_ids, query_cameras: Q integers each.
        gallery_ids, gallery_cameras: G integers each.
        method: how; by default by cosine similarity and nothing else.

    Raises:
        TypeError, ValueError: features or labels that cannot be ranked; the message says which.
        RankingError: no query has a match.
    """
    method = method or Method()
    labels = Labels(*map(np.asarray, (query_ids, gallery_ids, query_cameras, gallery_cameras)))
    together = np.concatenate([as_feature_matrix(query), as_feature_matrix(gallery)])
    distances = ImageDistances(method.prepared(together), len(query))
    if method.gallery_draws:
        return measure_draws(distances, labels, method)
    return measure(method.blocks(distances), labels, method)


def measure(blocks: Iterable[np.ndarray], labels: Labels, method: Method) -> Measured:
    """Metrics of distances, which come in blocks of consecutive queries, smaller is nearer.

    Raises:
        ValueError: the distances are NaN, or not as many as there are labels.
        RankingError: no query has a match.
    """
    if method.roc:  # looks at all of them once more
        blocks = list(blocks)
    ranking = rank_in_blocks(blocks, *labels.all, top_k=method.top_k or None)
    metrics = ranking.percent()
    metrics["metric"] = (metrics["mAP"] + metrics["Rank-1"]) / 2
    if method.roc:
        metrics |= true_positive_rates(blocks, *labels.all)
    return Measured(metrics, count(ranking, labels))


def measure_draws(distances: ImageDistances, labels: Labels, method: Method) -> Measured:
    """Means over random galleries of one image of each identity, drawn from queries and gallery together.

    Raises:
        ValueError: no identity has two images.
    """
    identities = np.concatenate([labels.query_ids, labels.gallery_ids])
    counts = []

    def measure_one(queries: np.ndarray, gallery: np.ndarray) -> dict[str, float]:
        # A camera for the queries and one for the gallery: no match is junk.
        cameras = np.zeros(len(queries), dtype=int), np.ones(len(gallery), dtype=int)
        drawn = distances.reordered(np.concatenate([queries, gallery]), len(queries))
        part = measure(
            method.blocks(drawn), Labels(identities[queries], identities[gallery], *cameras), method
        )
        counts.append(part.counts)
        return part.metrics

    metrics = mean_over_draws(identities, method.gallery_draws, measure_one)
    return Measured(metrics, replace(counts[0], cameras=0))


def count(ranking: Ranking, labels: Labels) -> Counts:
    """What a ranking was made of."""
    used = len(ranking.average_precisions)
    cameras = np.union1d(labels.query_cameras, labels.gallery_cameras)
    return Counts(used, len(labels.query_ids) - used, len(labels.gallery_ids), len(cameras))


def normalised(features: np.ndarray) -> np.ndarray:
    """Rows of unit length, to the bit as they are where they have it; a row of zeros stays as it is."""
    squared = np.einsum("nd,nd->n", features, features)
    if np.abs(squared - 1).max(initial=0) < UNIT:
        return features
    return functional.normalize(torch.from_numpy(features), dim=1).numpy()
