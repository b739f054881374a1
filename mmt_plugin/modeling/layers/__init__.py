"""Layers that fastreid lacks: batch normalisation by chunk and by domain, and a margin classifier."""

from .arc_margin import ArcMarginSoftmax
from .batch_norm import ChunkedBatchNorm, DomainBatchNorm, whole_batches
from .conversion import batch_norms, convert_batch_norm, fold_batch_norm, match_domains, running_statistics
from .routing import DOMAINS, SOURCE, TARGET, Route, current_route, route, same_route

__all__ = [
    "DOMAINS",
    "SOURCE",
    "TARGET",
    "ArcMarginSoftmax",
    "ChunkedBatchNorm",
    "DomainBatchNorm",
    "Route",
    "batch_norms",
    "convert_batch_norm",
    "current_route",
    "fold_batch_norm",
    "match_domains",
    "route",
    "running_statistics",
    "same_route",
    "whole_batches",
]
