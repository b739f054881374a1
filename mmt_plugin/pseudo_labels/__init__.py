"""Pseudo labels from features: neighbours -> k-reciprocal Jaccard graph -> clusters -> PseudoLabels.

Usable on any N x D feature matrix; needs neither fastreid nor a GPU. What is named here is imported when it
is first asked for: the choices alone cost nothing, compiled code and the libraries of clustering do.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .choices import METHODS

if TYPE_CHECKING:
    from .clustering.cannot_link import conflicts, separate_conflicts
    from .clustering.dbscan import dbscan, rho_eps
    from .clustering.kmeans import kmeans
    from .clustering.must_link import link_tracklets
    from .clustering.reliability import reliable_labels
    from .jaccard.camera_aware import camera_aware_jaccard_graph
    from .jaccard.graph import graph_from_neighbours, jaccard_graph
    from .labels import PseudoLabels
    from .neighbours.nearest import Neighbours, nearest_neighbours
    from .quality.agreement import agreement, cluster_identities
    from .quality.label_free import common_neighbours, label_free_quality, silhouette, stability
    from .step import cluster

_HOMES = {
    "clustering.cannot_link": ("conflicts", "separate_conflicts"),
    "clustering.dbscan": ("dbscan", "rho_eps"),
    "clustering.kmeans": ("kmeans",),
    "clustering.must_link": ("link_tracklets",),
    "clustering.reliability": ("reliable_labels",),
    "jaccard.camera_aware": ("camera_aware_jaccard_graph",),
    "jaccard.graph": ("graph_from_neighbours", "jaccard_graph"),
    "labels": ("PseudoLabels",),
    "neighbours.nearest": ("Neighbours", "nearest_neighbours"),
    "quality.agreement": ("agreement", "cluster_identities"),
    "quality.label_free": ("common_neighbours", "label_free_quality", "silhouette", "stability"),
    "step": ("cluster",),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "METHODS",
    "Neighbours",
    "PseudoLabels",
    "agreement",
    "camera_aware_jaccard_graph",
    "cluster",
    "cluster_identities",
    "common_neighbours",
    "conflicts",
    "dbscan",
    "graph_from_neighbours",
    "jaccard_graph",
    "kmeans",
    "label_free_quality",
    "link_tracklets",
    "nearest_neighbours",
    "reliable_labels",
    "rho_eps",
    "separate_conflicts",
    "silhouette",
    "stability",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
