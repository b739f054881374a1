"""Networks, heads, losses and the Mutual Mean-Teaching meta-architecture."""

from . import layers  # registers the margin classifier
from .heads import ClusterHead
from .meta_arch import MutualMeanTeaching
from .network import ReIDNetwork, build_network

__all__ = ["ClusterHead", "MutualMeanTeaching", "ReIDNetwork", "build_network", "layers"]
