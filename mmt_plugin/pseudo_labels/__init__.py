"""Pseudo labels from features: neighbours -> k-reciprocal Jaccard graph -> clusters -> PseudoLabels.

Usable on any N x D feature matrix; needs neither fastreid nor a GPU.
"""

from .camera_aware import camera_aware_jaccard_graph
from .clusters import dbscan, kmeans, rho_eps
from .generate import METHODS, cluster
from .jaccard import graph_from_neighbours, jaccard_graph
from .labels import PseudoLabels
from .neighbours import Neighbours, nearest_neighbours
from .quality import agreement
from .reliability import reliable_labels

__all__ = [
    "METHODS",
    "Neighbours",
    "PseudoLabels",
    "agreement",
    "camera_aware_jaccard_graph",
    "cluster",
    "dbscan",
    "graph_from_neighbours",
    "jaccard_graph",
    "kmeans",
    "nearest_neighbours",
    "reliable_labels",
    "rho_eps",
]
