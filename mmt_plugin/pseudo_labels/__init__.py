"""Pseudo labels from features: neighbours -> k-reciprocal Jaccard graph -> clusters -> PseudoLabels.

Usable on any N x D feature matrix; needs neither fastreid nor a GPU.
"""

from .camera_aware import camera_aware_jaccard_graph
from .clusters import dbscan, kmeans, rho_eps
from .generate import METHODS, cluster
from .jaccard import graph_from_neighbours, jaccard_graph
from .label_free import common_neighbours, label_free_quality, silhouette, stability
from .labels import PseudoLabels
from .must_link import link_tracklets
from .neighbours import Neighbours, nearest_neighbours
from .quality import agreement, cluster_identities
from .reliability import reliable_labels

__all__ = [
    "METHODS",
    "Neighbours",
    "PseudoLabels",
    "agreement",
    "camera_aware_jaccard_graph",
    "cluster",
    "cluster_identities",
    "common_neighbours",
    "dbscan",
    "graph_from_neighbours",
    "jaccard_graph",
    "kmeans",
    "label_free_quality",
    "link_tracklets",
    "nearest_neighbours",
    "reliable_labels",
    "rho_eps",
    "silhouette",
    "stability",
]
