"""Distances between the images of a test set. Shapes: Q queries, G gallery images, N = Q + G, D feature size.

Source of the camera term: Zhu et al., "VOC-ReID" (CVPRW 2020), in the form of github.com/yxgeee/VisDA-ECCV20,
visda/evaluators.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array

from mmt_plugin.pseudo_labels.inputs import as_feature_matrix
from mmt_plugin.pseudo_labels.jaccard.graph import neighbour_lists
from mmt_plugin.pseudo_labels.neighbours.nearest import Neighbours, farthest_squared_distances

# Images whose distances to all others are made at once.
BLOCK = 256
# How far a squared length of 1 may be off by rounding.
UNIT = 1e-5


@dataclass(frozen=True, eq=False)
class ImageDistances:
    """d(i, j) = ||f_i - f_j||^2 - w ||c_i - c_j||^2 between all images, in blocks of rows on demand.

    Images that a camera model finds to be of different cameras come nearer: their appearance differs for
    that reason alone. Distances may be negative then; an image's distance to itself is 0.

    Attributes:
        features: N x D float32, queries first.
        num_queries: Q.
        cameras: N x E float32, L2-normalised features of a camera model, or None for no camera term.
        weight: w.
    """

    features: np.ndarray
    num_queries: int
    cameras: np.ndarray | None = None
    weight: float = 0.0

    def reordered(self, order: np.ndarray, num_queries: int) -> "ImageDistances":
        """Of the same images, or some of them, in another order, the first of which are the queries."""
        cameras = None if self.cameras is None else self.cameras[order]
        return ImageDistances(self.features[order], num_queries, cameras, self.weight)

    @classmethod
    def between(cls, query: np.ndarray, gallery: np.ndarray) -> "ImageDistances":
        """Of Q x D query and G x D gallery features, any floating type, without a camera term.

        Raises:
            TypeError: if the features are not floating point.
            ValueError: if they are not finite matrices of equal width, or there are none.
        """
        query, gallery = as_feature_matrix(query), as_feature_matrix(gallery)
        if query.shape[1] != gallery.shape[1]:
            raise ValueError(
                f"query features have {query.shape[1]} columns, gallery features {gallery.shape[1]}"
            )
        if len(query) == 0 or len(gallery) == 0:
            raise ValueError(f"cannot rank {len(gallery)} gallery images for {len(query)} queries")
        return cls(np.concatenate([query, gallery]), len(query))

    @property
    def has_camera_term(self) -> bool:
        return self.cameras is not None and self.weight > 0

    def rows(self, start: int, stop: int, first: int = 0) -> np.ndarray:
        """Distances of images start to stop to the first-th image and those after it, float32."""
        rows = slice(start, stop)
        distances = _squared(self.features[rows], self.features[first:])
        if self.has_camera_term:
            distances -= self.weight * _squared(self.cameras[rows], self.cameras[first:])
        return distances

    def query_blocks(self) -> Iterator[np.ndarray]:
        """The Q x G distances of queries to gallery images, in blocks of consecutive queries."""
        for start, stop in self._blocks(self.num_queries):
            yield self.rows(start, stop, first=self.num_queries)

    def nearest_and_farthest(self, k1: int) -> tuple[Neighbours, np.ndarray]:
        """Every image's k1 nearest others after itself, and its largest distance by size, N float32.

        The image heads its own list even where others are at a negative distance.

        Raises:
            ValueError: if k1 is less than 1.
        """
        if not self.has_camera_term:
            lists = neighbour_lists(self.features, k1, k1_includes_self=False)
            return lists, farthest_squared_distances(self.features)
        if k1 < 1:
            raise ValueError(f"k1 is {k1}; it must be at least 1")
        width = min(k1 + 1, len(self.features))
        indices, distances, farthest = [], [], []
        for start, stop in self._blocks(len(self.features)):
            block, own = self.rows(start, stop), np.arange(stop - start)
            farthest.append(np.abs(block).max(axis=1))
            block[own, start + own] = -np.inf
            near = np.sort(np.argpartition(block, width - 1, axis=1)[:, :width], axis=1)
            gaps = np.take_along_axis(block, near, axis=1)
            order = np.argsort(gaps, axis=1, kind="stable")
            indices.append(np.take_along_axis(near, order, axis=1).astype(np.int32))
            distances.append(np.take_along_axis(gaps, order, axis=1))
            distances[-1][:, 0] = 0
        return Neighbours(np.concatenate(indices), np.concatenate(distances)), np.concatenate(farthest)

    def on(self, pattern: csr_array) -> np.ndarray:
        """The distances of the pairs that an N x N pattern stores, in its order."""
        values = np.empty(pattern.nnz, dtype=np.float32)
        for start, stop in self._blocks(len(self.features)):
            places = slice(pattern.indptr[start], pattern.indptr[stop])
            row = np.repeat(np.arange(stop - start), np.diff(pattern.indptr[start : stop + 1]))
            values[places] = self.rows(start, stop)[row, pattern.indices[places]]
        return values

    @staticmethod
    def _blocks(num_rows: int) -> Iterator[tuple[int, int]]:
        for start in range(0, num_rows, BLOCK):
            yield start, min(start + BLOCK, num_rows)


def _squared(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances, never below 0.

    Of unit vectors they are 2 - 2 cos: adding measured lengths would add their rounding errors, which is
    enough to change the order where all images look alike.
    """
    distances = (torch.from_numpy(some) @ torch.from_numpy(others).T).numpy()
    distances *= -2
    lengths, other_lengths = (np.einsum("nd,nd->n", each, each) for each in (some, others))
    if max(np.abs(each - 1).max(initial=0) for each in (lengths, other_lengths)) < UNIT:
        distances += 2
    else:
        distances += lengths[:, None]
        distances += other_lengths
    return np.maximum(distances, 0, out=distances)
