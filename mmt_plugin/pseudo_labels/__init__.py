"""Pseudo labels from features: neighbours -> k-reciprocal Jaccard graph -> clusters -> PseudoLabels.

Usable on any N x D feature matrix; needs neither fastreid nor a GPU.
"""

from mmt_plugin.pseudo_labels.clustering.dbscan import dbscan, rho_eps
from mmt_plugin.pseudo_labels.clustering.kmeans import kmeans
from mmt_plugin.pseudo_labels.clustering.must_link import link_tracklets
from mmt_plugin.pseudo_labels.clustering.reliability import reliable_labels
from mmt_plugin.pseudo_labels.jaccard.camera_aware import camera_aware_jaccard_graph
from mmt_plugin.pseudo_labels.jaccard.graph import graph_from_neighbours, jaccard_graph
from mmt_plugin.pseudo_labels.neighbours.nearest import Neighbours, nearest_neighbours
from mmt_plugin.pseudo_labels.quality.agreement import agreement, cluster_identities
from mmt_plugin.pseudo_labels.quality.label_free import (
    common_neighbours,
    label_free_quality,
    silhouette,
    stability,
)

from .labels import PseudoLabels
from .step import METHODS, cluster

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
