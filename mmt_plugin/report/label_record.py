"""What is kept of a label step. Shapes: N images, C clusters, D feature size, S sampled images, M pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmt_plugin.data.dataset import Item, images_digest
from mmt_plugin.pseudo_labels import PseudoLabels
from mmt_plugin.system.files import remove_unfinished

from .records import FOLDER, load_record, save_record

FIRST, LAST = "first_labels.npz", "last_labels.npz"
NUM_PAIRS = 20000


@dataclass(frozen=True, eq=False)
class LabelRecord:
    """The labels of one epoch, and as much of the features as a report shows. About 5 MB for N = 100,000.

    Attributes:
        epoch: from 0.
        images: which images they are, see `images_digest`.
        labels: N int32, -1 for an image of no cluster.
        distances: N float16, cosine distance to the own cluster's centroid; NaN for an image of no cluster.
        sample: S int32, sampled images.
        features: S x D float16, theirs, L2-normalised.
        positives, negatives: up to M float16, cosine distances of random pairs of equal and of different
            groups.
        pairs_of: what the groups are: "identities" or, where there are none, "clusters".
    """

    epoch: int
    images: str
    labels: np.ndarray
    distances: np.ndarray
    sample: np.ndarray
    features: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    pairs_of: str


class LabelRecorder:
    """Keeps the first label step of a run, whose networks are the source models, and the latest."""

    def __init__(self, folder: str, items: Sequence[Item], truth: np.ndarray | None, sample_size: int):
        """
        Args:
            folder: the run's; this process is its only user.
            items: its N images.
            truth: N identities, for the distances of pairs; None: not known.
            sample_size: images whose features are kept.
        """
        self.folder, self.truth, self.sample_size = Path(folder, FOLDER), truth, sample_size
        self.images = images_digest(items)
        if self.folder.is_dir():
            remove_unfinished(str(self.folder))

    def record(self, epoch: int, features: np.ndarray, labels: PseudoLabels) -> None:
        """Write one label step.

        Args:
            epoch: from 0.
            features: N x D floats; NaN for an image that cannot be read.
            labels: what was made of them.

        Raises:
            OSError: the file cannot be written.
        """
        first = None if epoch == 0 else load_record(LabelRecord, self.folder / FIRST)
        sample = sample_images(labels.labels, self.sample_size) if first is None else first.sample
        readable = np.isfinite(features[sample]).all(axis=1)
        groups = labels.labels if self.truth is None else self.truth
        positives, negatives = pair_distances(features, groups)
        record = LabelRecord(
            epoch=epoch,
            images=self.images,
            labels=labels.labels.astype(np.int32),
            distances=_distances_to_centroids(features, labels),
            sample=sample[readable].astype(np.int32),
            features=_normalised(features[sample[readable]]).astype(np.float16),
            positives=positives,
            negatives=negatives,
            pairs_of="clusters" if self.truth is None else "identities",
        )
        save_record(record, self.folder / (FIRST if epoch == 0 else LAST))
        if epoch == 0:
            (self.folder / LAST).unlink(missing_ok=True)  # of a run that was started anew


def sample_images(labels: np.ndarray, size: int, seed: int = 0) -> np.ndarray:
    """Random whole clusters and, in proportion, outliers: neighbourhoods stay together.

    Args:
        labels: N integers, -1 for an image of no cluster.
        size: images wanted; all are taken where there are no more.
        seed: of the choice.

    Returns:
        Sorted indices.
    """
    if len(labels) <= size:
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    outliers, clustered = np.flatnonzero(labels < 0), np.flatnonzero(labels >= 0)
    share = round(size * len(outliers) / len(labels))
    rank = rng.permutation(labels.max(initial=-1) + 1)[labels[clustered]]
    members = clustered[np.argsort(rank, kind="stable")][: size - share]
    return np.sort(np.concatenate([members, rng.choice(outliers, share, replace=False)]))


def pair_distances(
    features: np.ndarray, groups: np.ndarray, count: int = NUM_PAIRS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Cosine distances of random pairs of images. Equal groups give equal pairs in every call.

    Args:
        features: N x D, of any length; pairs with NaN are left out.
        groups: N integers, -1 for an image of none.
        count: pairs of each kind.
        seed: of the choice.

    Returns:
        Those of one group and those of two, up to `count` float16 each; empty where there is no such pair.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(groups, kind="stable")
    order = order[groups[order] >= 0]
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    anchors = np.flatnonzero(size > 1)
    if len(anchors):
        anchors = rng.choice(anchors, count)
        steps = 1 + rng.integers(size[anchors] - 1)
        partners = start[anchors] + (anchors - start[anchors] + steps) % size[anchors]
    else:
        partners = anchors
    positives = _cosine_distances(features, order[anchors], order[partners])
    if len(sizes) < 2:
        return positives, np.empty(0, np.float16)
    a, b = rng.choice(order, (2, count))
    different = groups[a] != groups[b]
    return positives, _cosine_distances(features, a[different], b[different])


def _cosine_distances(features: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """1 - cosine of pairs of rows, without those of NaN."""
    parts = [_dissimilarity(features[a[block]], features[b[block]]) for block in _blocks(len(a))]
    distances = np.concatenate(parts) if parts else np.empty(0)
    return distances[np.isfinite(distances)].astype(np.float16)


def _distances_to_centroids(features: np.ndarray, labels: PseudoLabels) -> np.ndarray:
    distances = np.full(len(features), np.nan, np.float16)
    clustered = np.flatnonzero(labels.labels >= 0)
    for block in _blocks(len(clustered)):
        rows = clustered[block]
        distances[rows] = _dissimilarity(features[rows], labels.centroids[labels.labels[rows]])
    return distances


def _dissimilarity(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """1 - cosine of each row with its counterpart."""
    return 1 - np.einsum("nd,nd->n", _normalised(one), _normalised(other))


def _normalised(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _blocks(count: int, size: int = 4096) -> list[slice]:
    """Consecutive slices: copies of so many rows at once take little memory."""
    return [slice(start, start + size) for start in range(0, count, size)]
