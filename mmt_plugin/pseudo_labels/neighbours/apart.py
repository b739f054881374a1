"""Sets of images so far from all others that the neighbours of each lie within the set.

Shapes: N images, D feature size, k list width.

Products are rounded relative to the lengths of the features, so a crowd that is tiny beside its distance from
the rest, or one feature beyond the range of a type, is more than they can tell apart. Such a set is searched
by itself, in a frame of its own.
"""

import numpy as np

from mmt_plugin.pseudo_labels.threads import over_rows
from mmt_plugin.system.compilation import njit

from .difference import squared_distance

# Two images of a set lie within twice its radius of each other; what lies beyond three times the radius from
# its centre is farther than that from both. The rest is for rounding.
GAP = 3.01


def set_apart(features: np.ndarray, image: int, k: int, groups: np.ndarray) -> np.ndarray | None:
    """The largest set around an image that holds all its members' k nearest.

    Args:
        features: N x D float32, finite.
        image: the centre.
        k: list width, at least 1.
        groups: N integers; images of equal group are not listed for each other.

    Returns:
        The indices of its members, ascending, fewer than N; or None where there is no such set.
    """
    gaps = np.empty(len(features))
    over_rows(_distances, len(features), features, image, gaps, description="images far apart")
    order = np.argsort(gaps)
    ordered = gaps[order]
    # From the largest down: a large set may hold smaller ones, which its own search finds.
    for size in np.flatnonzero(ordered[1:] > GAP**2 * ordered[:-1])[::-1] + 1:
        if size <= k or ordered[size - 1] == 0:
            break
        members = order[:size]
        _, counts = np.unique(groups[members], return_counts=True)
        if size - counts.max() >= k:
            return np.sort(members)
    return None


@njit(nogil=True, cache=True)
def _distances(start, stop, features, image, gaps):
    """Squared distances of rows start to stop from one image."""
    for row in range(start, stop):
        gaps[row] = squared_distance(features[row], features[image])
