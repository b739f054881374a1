"""Clusters too large to be one identity."""

from collections.abc import Iterator
from typing import Any

from mmt_plugin.pseudo_labels.labels import PseudoLabels

# Share of all images from which a cluster is likely to join several identities.
LARGE = 0.1


def warnings_of(found: PseudoLabels, keys: Any) -> Iterator[str]:
    """Sentences that say which clusters are suspiciously large, and what to change.

    Args:
        found: a labelling of all N images.
        keys: PSEUDO_LABELS of the configuration.
    """
    num_images = len(found.labels)
    if keys.METHOD == "kmeans":
        remedy = f"raise PSEUDO_LABELS.KMEANS.NUM_CLUSTERS, which is {keys.KMEANS.NUM_CLUSTERS}"
    elif found.eps is None:
        remedy = f"look at the keys of {keys.METHOD!r}"
    else:
        change = {"fixed": "lower PSEUDO_LABELS.DBSCAN.EPS", "rho": "lower PSEUDO_LABELS.DBSCAN.RHO"}
        change["auto"] = "set PSEUDO_LABELS.DBSCAN.EPS_RULE fixed and a smaller PSEUDO_LABELS.DBSCAN.EPS"
        remedy = (
            f"{change[keys.DBSCAN.EPS_RULE]} (the radius is {found.eps:.4g}), or PSEUDO_LABELS.K1, "
            f"{keys.K1}, where it exceeds the images of an identity"
        )
    if found.num_clusters == 1 and found.largest > 1:
        yield f"All {found.largest} clustered images are in one cluster: {remedy}"
    elif found.largest > LARGE * num_images:
        yield (
            f"The largest cluster holds {found.largest} of {num_images} images, more than a tenth. Unless "
            f"there are only a few identities, it joins several: {remedy}"
        )
