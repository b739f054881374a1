"""Evaluation of mean teachers."""

from .networks import EachNetwork, EachNetworkEvaluator, network_names

__all__ = ["EachNetwork", "EachNetworkEvaluator", "network_names"]
