"""Pseudo labels from features: neighbours -> k-reciprocal Jaccard graph -> clusters -> PseudoLabels.

Usable on any N x D feature matrix; needs neither fastreid nor a GPU.
"""

from .clusters import dbscan, kmeans, rho_eps
from .generate import cluster
from .jaccard import graph_from_neighbours, jaccard_graph
from .labels import PseudoLabels
from .neighbours import nearest_neighbours
from .quality import agreement

__all__ = [
    "PseudoLabels",
    "agreement",
    "cluster",
    "dbscan",
    "graph_from_neighbours",
    "jaccard_graph",
    "kmeans",
    "nearest_neighbours",
    "rho_eps",
]
