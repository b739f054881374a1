"""The distance of two images, from the differences of their features."""

import numpy as np

from mmt_plugin.system.compilation import njit


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def squared_distance(one, other):
    """Squared Euclidean distance of two feature vectors, from differences: 0 for duplicates."""
    total = np.float64(0)
    for at in range(len(one)):
        difference = np.float64(one[at]) - np.float64(other[at])
        total += difference * difference
    return total
