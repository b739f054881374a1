"""Whether clusters follow what images have in common besides who is in them: the camera, the pose.

Shapes: B batch, H image height, W image width, N images, F numbers of a layout.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score
from torch import Tensor

# Grey pixels that a layout is made of, cells that it is summed over, and directions of edges.
PIXELS, CELLS, DIRECTIONS = (32, 16), (8, 4), 6
# Groups of like layouts that stand for poses.
POSES = 8
# From where on clusters are suspected of following a nuisance: see `follows`.
FOLLOWED = 0.75


def layouts(images: Tensor) -> Tensor:
    """Where edges of which direction lie: what a pose changes, and neither a colour nor a light does.

    Args:
        images: B x 3 x H x W of any number type.

    Returns:
        B x F float32, square roots of histograms of oriented gradients (Dalal and Triggs, 2005) of sum 1.
    """
    grey = F.interpolate(images.float().mean(dim=1, keepdim=True), PIXELS, mode="area")[:, 0]
    vertical, horizontal = torch.gradient(grey, dim=(1, 2))
    strength = torch.hypot(vertical, horizontal)
    direction = torch.atan2(vertical, horizontal).remainder(torch.pi) / torch.pi * DIRECTIONS
    bins = torch.arange(DIRECTIONS, device=images.device)[:, None, None]
    apart = (direction[:, None] - bins).abs()
    shares = (1 - torch.minimum(apart, DIRECTIONS - apart)).clamp(min=0) * strength[:, None]
    cells = F.adaptive_avg_pool2d(shares, CELLS).flatten(1)
    return F.normalize(cells, p=1, dim=1).sqrt()


def pose_groups(layouts: np.ndarray) -> np.ndarray:
    """Group images of like layouts, by k-means: N x F -> N integers; rows of NaN are group 0."""
    readable = ~np.isnan(layouts).any(axis=1)
    groups = np.zeros(len(layouts), int)
    if readable.sum() > POSES:
        groups[readable] = KMeans(POSES, n_init=3, random_state=0).fit_predict(layouts[readable])
    return groups


def follows(labels: np.ndarray, groups: np.ndarray) -> float:
    """How far a cluster tells the group of its images.

    Args:
        labels: N integers, -1 for an image of no cluster, which is left out.
        groups: N integers: cameras, or poses.

    Returns:
        Mutual information, corrected for chance (Vinh et al., 2010), as a share of the smaller entropy: about
        0 where clusters and groups have nothing to do with each other, 1 where each cluster is of one group.
    """
    clustered = labels >= 0
    if not clustered.any():
        return 0.0
    return float(adjusted_mutual_info_score(groups[clustered], labels[clustered], average_method="min"))


def nuisance_warnings(quality: Mapping[str, float]) -> Iterator[str]:
    """Sentences that say which nuisance clusters seem to follow, and what to do.

    Args:
        quality: of `label_free_quality`.
    """
    remedies = {
        "cameras": "try PSEUDO_LABELS.CAMERA_AWARE.ENABLED True",
        "poses": "look at the contact sheets of mmt explore-labels before you trust the model",
    }
    for nuisance, remedy in remedies.items():
        value = quality.get(f"follows_{nuisance}", 0.0)
        if value > FOLLOWED:
            yield f"Clusters follow {nuisance}, not identities ({value:.2f}; 0 is chance, 1 all): {remedy}"
