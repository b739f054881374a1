"""Every image's nearest images, by an exact or an approximate search. Shapes: N images, D feature size, k
list width.

The exact search is the default. An approximate one is asked for by name, for sets of several hundred thousand
images and more, and measures its own recall.
"""

from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from mmt_plugin.pseudo_labels.choices import SEARCHES, choice_rule, demand
from mmt_plugin.pseudo_labels.inputs import as_feature_matrix, search_device

from . import approximate as approximate_search
from . import exact as exact_search

# Images of a block of distances (16 MiB).
BLOCK = 2048


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Neighbour lists and their distances.

    Attributes:
        indices: N x k int32, nearest first; -1 pads a list that has too few images.
        distances: N x k float32, squared Euclidean, ascending; infinite where the list is padded.
        recall: of an approximate search, the share of the true lists found, on a sample; None for an exact
            one.
    """

    indices: np.ndarray
    distances: np.ndarray
    recall: float | None = None


def nearest_neighbours(
    features: np.ndarray | torch.Tensor,
    k: int,
    *,
    search: str = "exact",
    device: str | torch.device | None = None,
) -> Neighbours:
    """Find every image's k nearest images, itself first.

    The image heads its own list even where it has exact duplicates. Equal distances are ordered by index;
    what differs by less than float32 rounding may be ordered either way.

    Args:
        features: N x D, any floating type.
        k: list width, the image itself included; 1 <= k <= N.
        search: "exact", or an approximate search: "hnsw" or "tree".
        device: where the exact search runs. None: where the features are.

    Returns:
        N lists of k images.

    Raises:
        TypeError: if the features are not floating point.
        ValueError: if features are not a finite N x D matrix or an argument lies outside its range.
    """
    demand(choice_rule("SEARCH", search, SEARCHES))
    device = search_device(features, device)
    features = as_feature_matrix(features)
    if not 1 <= k <= len(features):
        raise ValueError(f"cannot list {k} neighbours among {len(features)} images")
    if k == 1:
        return _headed_by_self(
            np.empty((len(features), 0), np.int32), np.empty((len(features), 0), np.float32)
        )
    if search != "exact":
        others, distances, recall = approximate_search.search(features, k - 1, search)
        return _headed_by_self(others, distances, recall)
    return _headed_by_self(*search_others(features, k - 1, device=device))


def search_others(
    features: np.ndarray,
    k: int,
    groups: np.ndarray | None = None,
    device: str | torch.device = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """Exact lists of other images, or of images of other groups, on any device; see `exact_search.search`."""
    if torch.device(device).type == "cpu":
        return exact_search.search(features, k, groups)
    on_device = torch.from_numpy(features).to(device)
    groups = None if groups is None else torch.from_numpy(groups).to(device)
    return exact_search.search_on_gpu(on_device, k, groups)


def _headed_by_self(others: np.ndarray, distances: np.ndarray, recall: float | None = None) -> Neighbours:
    """Put each image, at distance 0, before the others on its list."""
    own = np.arange(len(others), dtype=np.int32)[:, None]
    nothing = np.zeros((len(others), 1), dtype=np.float32)
    return Neighbours(np.hstack([own, others]), np.hstack([nothing, distances]), recall)


def farthest_squared_distances(features: np.ndarray) -> np.ndarray:
    """Squared Euclidean distance from every image to the one farthest from it.

    Args:
        features: N x D float32.

    Returns:
        N float32.
    """
    norms = np.einsum("nd,nd->n", features, features)
    farthest = np.zeros_like(norms)
    starts = range(0, len(features), BLOCK)
    for first in tqdm(starts, desc="farthest images", disable=None):
        rows = slice(first, first + BLOCK)
        for second in range(first, len(features), BLOCK):
            columns = slice(second, second + BLOCK)
            # Each pair of blocks once; a distance serves both images.
            gaps = features[rows] @ features[columns].T
            gaps *= -2
            gaps += norms[rows, None]
            gaps += norms[columns]
            np.maximum(farthest[rows], gaps.max(axis=1), out=farthest[rows])
            np.maximum(farthest[columns], gaps.max(axis=0), out=farthest[columns])
    return farthest
