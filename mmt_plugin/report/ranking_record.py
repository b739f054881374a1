"""What is kept of the last evaluation: some ranked lists. Shapes: Q queries, G gallery images, D feature
size, R ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from mmt_plugin.data.dataset import Item, images_digest

RANKING = "ranking.npz"
SAMPLE, SHOWN, RANKS = 200, 8, 10


@dataclass(frozen=True, eq=False)
class RankingRecord:
    """Ranked lists of a few queries, from the best average precision to the worst.

    Attributes:
        dataset: name of the test set.
        images: which images it has, see `images_digest`.
        sampled: evenly spaced queries that were ranked; those below are quantiles of them.
        queries: Q int32.
        precisions: Q float32, average precision in [0, 1].
        gallery: Q x R int32, best first, -1 beyond the gallery's end.
        distances: Q x R float32, cosine.
        matches: Q x R bool.
    """

    dataset: str
    images: str
    sampled: int
    queries: np.ndarray
    precisions: np.ndarray
    gallery: np.ndarray
    distances: np.ndarray
    matches: np.ndarray


def rank_queries(
    dataset: str,
    query: Sequence[Item],
    gallery: Sequence[Item],
    query_features: Tensor,
    gallery_features: Tensor,
) -> RankingRecord | None:
    """Rank the gallery for evenly spaced queries by cosine distance, without re-ranking, and keep lists at
    evenly spaced quantiles of average precision: neither the best nor the worst are picked.

    Gallery images of the query's identity in the query's own camera are left out, as the evaluation does.

    Args:
        dataset: name of the test set.
        query: its Q items (path, identity, camera).
        gallery: its G items.
        query_features: Q x D.
        gallery_features: G x D.

    Returns:
        None where no sampled query has a match in another camera.
    """
    rows = np.unique(np.linspace(0, len(query) - 1, min(SAMPLE, len(query))).round().astype(int))
    similarity = (F.normalize(query_features[rows], dim=1) @ F.normalize(gallery_features, dim=1).t()).numpy()
    identities, cameras = (np.array([item[k] for item in gallery]) for k in (1, 2))
    lists = []
    for row, index in zip(similarity, rows, strict=True):
        _, identity, camera = query[index]
        order = np.argsort(-row, kind="stable")
        order = order[(identities[order] != identity) | (cameras[order] != camera)]
        hits = identities[order] == identity
        if hits.any():
            places = np.flatnonzero(hits) + 1
            precision = float(np.mean(np.arange(1, len(places) + 1) / places))
            lists.append((precision, index, order[:RANKS], 1 - row[order[:RANKS]], hits[:RANKS]))
    if not lists:
        return None
    lists.sort(key=lambda entry: -entry[0])
    quantiles = np.unique(np.linspace(0, len(lists) - 1, min(SHOWN, len(lists))).round().astype(int))
    precisions, queries, *ranked = zip(*(lists[i] for i in quantiles), strict=True)
    ids, distances, matches = (
        _padded(column, fill) for column, fill in zip(ranked, (-1, np.nan, False), strict=True)
    )
    return RankingRecord(
        dataset=dataset,
        images=images_digest([*query, *gallery]),
        sampled=len(lists),
        queries=np.array(queries, np.int32),
        precisions=np.array(precisions, np.float32),
        gallery=ids.astype(np.int32),
        distances=distances.astype(np.float32),
        matches=matches.astype(bool),
    )


def _padded(rows: Sequence[np.ndarray], fill: float) -> np.ndarray:
    """Rows of up to R values -> a matrix of R columns."""
    return np.stack([np.pad(row.astype(float), (0, RANKS - len(row)), constant_values=fill) for row in rows])
