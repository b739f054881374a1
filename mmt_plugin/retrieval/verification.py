"""Pairs told apart by a threshold: true positive rates at given false positive rates. Shapes: Q queries, G
gallery images.
"""

from collections.abc import Iterable

import numpy as np

RATES = (1e-4, 1e-3, 1e-2)


def true_positive_rates(
    blocks: Iterable[np.ndarray],
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray,
) -> dict[str, float]:
    """As fastreid's TEST.ROC has them: of the pairs of different identities this share of the nearest is
    taken for equal ones when so many of the pairs of one identity are.

    Gallery images of the query's identity and camera are left out. As in the host, "positive" is a pair of
    different identities, and it is told by a large distance.

    Args:
        blocks: distances of consecutive queries to all gallery images, together Q x G.
        query_ids, query_cameras: Q integers each.
        gallery_ids, gallery_cameras: G integers each.

    Returns:
        Shares in [0, 1], by the host's names.
    """
    from sklearn.metrics import roc_curve

    scores, different, done = [], [], 0
    for block in blocks:
        here = slice(done, done + len(block))
        same = query_ids[here, None] == gallery_ids
        counts = ~(same & (query_cameras[here, None] == gallery_cameras))
        scores.append(block[counts])
        different.append(~same[counts])
        done += len(block)
    false, true, _ = roc_curve(np.concatenate(different), np.concatenate(scores))
    return {f"TPR@FPR={rate:.0e}": float(true[np.argmin(np.abs(false - rate))]) for rate in RATES}
