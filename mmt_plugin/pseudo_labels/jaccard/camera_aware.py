"""The camera-aware Jaccard distance. Shapes: N images, D feature size.

Source: Chen et al., "CA-Jaccard: Camera-aware Jaccard Distance for Person Re-identification" (CVPR 2024) and
chenyiyuu/CA-Jaccard.

Images of the same camera look alike and crowd the true matches of other cameras out of a neighbour list. Here
every image has two lists, of its own camera and of the others; its set is the union of the reciprocal
neighbours on either, without further expansion, and query expansion averages over the heads of both.
"""

import numpy as np
import torch
from scipy.sparse import csr_array

from mmt_plugin.pseudo_labels.inputs import as_feature_matrix, search_device
from mmt_plugin.pseudo_labels.neighbours.nearest import Neighbours, search_others

from .graph import averaged, check_bound, set_weights
from .overlap import distances_below
from .reciprocal import reciprocal_sets, union_of_sets


def camera_aware_jaccard_graph(
    features: np.ndarray | torch.Tensor,
    cameras: np.ndarray,
    k1_intra: int = 5,
    k1_inter: int = 20,
    k2_intra: int = 2,
    k2_inter: int = 4,
    max_distance: float | None = None,
    *,
    device: str | torch.device | None = None,
) -> csr_array:
    """Compute the camera-aware Jaccard distance of every pair of images that is closer than a bound.

    Args:
        features: N x D, any floating type, L2-normalised by the caller.
        cameras: N integers.
        k1_intra: images of the same camera on a list, besides the image itself.
        k1_inter: images of other cameras on a list, less one: the published code reads k + 1 entries of
            either list, and only the first kind begins with the image itself.
        k2_intra: head of the same-camera list, the image itself included, that query expansion averages over.
        k2_inter: head of the other-camera list that it averages over.
        max_distance: bound in (0, 1]; None means 1.
        device: where the neighbour search runs. None: where the features are.

    Returns:
        As `jaccard_graph`.

    Raises:
        TypeError: if the features are not floating point.
        ValueError: if features are not a finite N x D matrix, cameras are not N integers or an argument lies
            outside its range.
    """
    device = search_device(features, device)
    features = as_feature_matrix(features)
    cameras = _as_cameras(cameras, len(features))
    check_bound(max_distance)
    _check_widths(k1_intra, k1_inter, k2_intra, k2_inter)
    if len(features) < 2:
        return csr_array((len(features), len(features)), dtype=np.float32)
    same = _same_camera_neighbours(features, cameras, k1_intra, device)
    others, distances = search_others(features, k1_inter + 1, cameras, device)
    sets = union_of_sets(reciprocal_sets(same.indices), reciprocal_sets(others))
    known = Neighbours(np.hstack([same.indices, others]), np.hstack([same.distances, distances]))
    vectors = set_weights(features, known, sets)
    heads = np.hstack([same.indices[:, :k2_intra], others[:, :k2_inter]])
    return distances_below(averaged(vectors, heads), max_distance)


def _same_camera_neighbours(
    features: np.ndarray, cameras: np.ndarray, k: int, device: torch.device
) -> Neighbours:
    """Lists of the image itself and its k nearest of the same camera, one search a camera."""
    num_images = len(features)
    indices = np.full((num_images, k + 1), -1, dtype=np.int32)
    distances = np.full((num_images, k + 1), np.inf, dtype=np.float32)
    indices[:, 0], distances[:, 0] = np.arange(num_images), 0
    for camera in np.unique(cameras):
        members = np.flatnonzero(cameras == camera)
        found, gaps = search_others(features[members], k, device=device)
        indices[members, 1:] = np.where(found < 0, -1, members[found])
        distances[members, 1:] = gaps
    return Neighbours(indices, distances)


def _as_cameras(cameras: np.ndarray, num_images: int) -> np.ndarray:
    cameras = np.asarray(cameras)
    if cameras.shape != (num_images,) or not np.issubdtype(cameras.dtype, np.integer):
        raise ValueError(
            f"expected {num_images} integer camera numbers, one an image; "
            f"got {cameras.dtype} of shape {cameras.shape}"
        )
    # Dense from 0, whatever the data set counts from.
    return np.unique(cameras, return_inverse=True)[1].astype(np.int64)


def _check_widths(k1_intra: int, k1_inter: int, k2_intra: int, k2_inter: int) -> None:
    rules = (
        (k1_intra >= 1, "K1_INTRA", k1_intra, "at least 1"),
        (k1_inter >= 1, "K1_INTER", k1_inter, "at least 1"),
        (1 <= k2_intra <= k1_intra + 1, "K2_INTRA", k2_intra, f"in [1, K1_INTRA + 1 = {k1_intra + 1}]"),
        (0 <= k2_inter <= k1_inter + 1, "K2_INTER", k2_inter, f"in [0, K1_INTER + 1 = {k1_inter + 1}]"),
    )
    for holds, key, value, wanted in rules:
        if not holds:
            raise ValueError(f"PSEUDO_LABELS.CAMERA_AWARE.{key} is {value}; it must be {wanted}")
