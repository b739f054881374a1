"""Images whose features are equal to the last bit. Shapes: N images.

They are at distance 0 from each other and at the same distance from everything else, so k of them are all
that a list of k can hold. A search leaves the others out and has no more ties to decide than that.
"""

import numpy as np

from mmt_plugin.pseudo_labels.threads import over_rows
from mmt_plugin.system.compilation import njit


def copies(features: np.ndarray, groups: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Find equal images.

    Args:
        features: N x D float32, finite.
        groups: N integers; images count as equal only within a group. None: all are of one.

    Returns:
        firsts: N int64, the smallest index of an image that is equal to each.
        ranks: N int64, how many equal images have a smaller index.
    """
    hashes = np.empty(len(features), dtype=np.uint64)
    over_rows(_hash, len(features), features, hashes, description="equal images")
    keys = (hashes,) if groups is None else (hashes, groups)
    order = np.lexsort(keys[::-1])
    differs = np.any([key[order[1:]] != key[order[:-1]] for key in keys], axis=0)
    # What hashes alike is compared, so that no accident can join two images.
    alike = np.flatnonzero(~differs)
    differs[alike] = [(features[order[at]] != features[order[at + 1]]).any() for at in alike]
    starts = np.concatenate([[0], np.flatnonzero(differs) + 1])[: len(features)]
    sizes = np.diff(np.append(starts, len(features)))
    firsts, ranks = np.empty(len(features), np.int64), np.empty(len(features), np.int64)
    firsts[order] = np.repeat(order[starts], sizes)
    ranks[order] = np.arange(len(features)) - np.repeat(starts, sizes)
    return firsts, ranks


@njit(nogil=True, cache=True)
def _hash(start, stop, features, hashes):
    """FNV-1a over the bits of rows start to stop, in four strands that are joined at the end."""
    for row in range(start, stop):
        # Adding 0 makes one zero of two.
        bits = (features[row] + np.float32(0)).view(np.uint32)
        strands = np.full(4, np.uint64(0xCBF29CE484222325))
        for at in range(len(bits)):
            strands[at & 3] = (strands[at & 3] ^ np.uint64(bits[at])) * np.uint64(0x100000001B3)
        total = np.uint64(len(bits))
        for strand in strands:
            total = (total ^ strand) * np.uint64(0x100000001B3)
        hashes[row] = total
