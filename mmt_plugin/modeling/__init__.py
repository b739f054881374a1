"""Networks, heads, losses and the Mutual Mean-Teaching meta-architecture."""

from . import backbones, layers  # registers backbones and the margin classifier
from .heads import ClusterHead
from .meta_arch import MutualMeanTeaching
from .network import ReIDNetwork, build_network

__all__ = ["ClusterHead", "MutualMeanTeaching", "ReIDNetwork", "backbones", "build_network", "layers"]
