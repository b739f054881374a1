"""VehicleID's protocol: of each identity one random image is the gallery, all others are queries, and metrics
are means over several such draws. Shapes: N images, Q queries, G gallery images.

Source: Liu et al., "Deep Relative Distance Learning" (CVPR 2016). Cameras are not looked at: there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

# Of the generator that draws: the same galleries in every evaluation.
SEED = 0


def gallery_draws(identities: np.ndarray, num_draws: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Queries and gallery of each draw, Q and G indices of images, sorted.

    Args:
        identities: N integers.
        num_draws: how many.

    Raises:
        ValueError: every identity has one image only, so that there is no query.
    """
    identities = np.asarray(identities)
    if len(np.unique(identities)) == len(identities):
        raise ValueError("no identity has two images: nothing can be asked for (TEST.GALLERY_DRAWS)")
    rng = np.random.default_rng(SEED)
    for _ in range(num_draws):
        order = rng.permutation(len(identities))
        _, first = np.unique(identities[order], return_index=True)
        gallery = np.sort(order[first])
        yield np.setdiff1d(order, gallery), gallery


def mean_over_draws(
    identities: np.ndarray, num_draws: int, measure: Callable[[np.ndarray, np.ndarray], dict[str, float]]
) -> dict[str, float]:
    """The mean of what is measured of each draw's queries and gallery."""
    parts = [measure(queries, gallery) for queries, gallery in gallery_draws(identities, num_draws)]
    return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}
