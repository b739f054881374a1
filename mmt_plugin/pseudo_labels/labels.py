"""The result of clustering. Shapes: N images, D feature size, C clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

# What `PseudoLabels` records of how the labels were made.
ORIGIN = ("eps", "independence", "recall")


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """One label an image, and what training needs to know of the clusters.

    Attributes:
        labels: N int64; 0..C-1, every value in use, or -1 for an image of no cluster.
        centroids: C x D float32, the L2-normalised mean of the member features.
        counts: C int64, images in each cluster.
        eps: DBSCAN radius the labels were made with; None for other methods.
        independence: score above which the reliability criterion dissolves a cluster; None without it.
        recall: of an approximate neighbour search; None for an exact one.

    Raises:
        ValueError: if the parts do not fit together.
    """

    labels: np.ndarray
    centroids: np.ndarray
    counts: np.ndarray
    eps: float | None = None
    independence: float | None = None
    recall: float | None = None

    def __post_init__(self) -> None:
        """Check that labels are dense and agree with counts and centroids."""
        counted = np.bincount(self.labels[self.labels >= 0], minlength=self.num_clusters)
        if not np.array_equal(counted, self.counts) or (counted == 0).any():
            raise ValueError(
                f"labels are not dense, or the counts of {self.num_clusters} clusters are not theirs"
            )
        if self.centroids.ndim != 2 or len(self.centroids) != self.num_clusters:
            raise ValueError(f"centroids have shape {self.centroids.shape}; expected {self.num_clusters} x D")

    @classmethod
    def from_features(cls, labels: np.ndarray, features: np.ndarray, **origin: float | None) -> PseudoLabels:
        """Derive counts and centroids from labels.

        Args:
            labels: N int64, dense from 0, -1 for an image of no cluster.
            features: N x D float32.
            origin: `eps`, `independence`, `recall`.
        """
        clustered = np.flatnonzero(labels >= 0)
        counts = np.bincount(labels[clustered])
        members = csr_array(
            (np.ones(len(clustered), np.float32), (labels[clustered], clustered)),
            shape=(len(counts), len(labels)),
        )
        means = (members @ features) / counts[:, None].astype(np.float32)
        norms = np.linalg.norm(means, axis=1, keepdims=True)
        return cls(labels, means / np.maximum(norms, 1e-12), counts, **origin)

    @property
    def num_clusters(self) -> int:
        """C."""
        return len(self.counts)

    @property
    def num_outliers(self) -> int:
        """Images of no cluster."""
        return int((self.labels < 0).sum())

    @property
    def largest(self) -> int:
        """Images in the largest cluster; 0 without clusters."""
        return int(self.counts.max(initial=0))

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain scalars only, fit for a checkpoint that is loaded with weights_only."""
        return {
            "labels": torch.from_numpy(self.labels),
            "centroids": torch.from_numpy(self.centroids),
            "counts": torch.from_numpy(self.counts),
            **{name: getattr(self, name) for name in ORIGIN},
        }

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> PseudoLabels:
        """Rebuild what `state_dict` returned.

        Raises:
            KeyError: if an entry is missing.
            ValueError: if the entries do not fit together.
        """
        arrays = (state[name].numpy() for name in ("labels", "centroids", "counts"))
        return cls(*arrays, **{name: state[name] for name in ORIGIN})


def with_singletons(labels: np.ndarray, tracklets: np.ndarray | None = None) -> np.ndarray:
    """Number what is in no cluster after the clusters: one each for an image, and for a tracklet.

    Args:
        labels: N int64, -1 for an image of no cluster.
        tracklets: N integers, -1 for an image of no tracklet; None: no image is of one.

    Returns:
        N int64.
    """
    outliers = np.flatnonzero(labels < 0)
    units = np.arange(len(outliers))
    if tracklets is not None:
        own = tracklets[outliers]
        units = np.unique(np.where(own >= 0, own, own.max(initial=0) + 1 + units), return_inverse=True)[1]
    labels = labels.copy()
    labels[outliers] = labels.max(initial=-1) + 1 + units
    return labels
