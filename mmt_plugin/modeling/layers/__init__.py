"""Layers that fastreid lacks: batch normalisation by chunk and by domain, and a margin classifier."""

from .arc_margin import ArcMarginSoftmax
from .batch_norm import ChunkedBatchNorm, DomainBatchNorm, whole_batches
from .conversion import batch_norms, convert_batch_norm, fold_batch_norm, match_domains, running_statistics
from .routing import DOMAINS, SOURCE, TARGET, route

__all__ = [
    "DOMAINS",
    "SOURCE",
    "TARGET",
    "ArcMarginSoftmax",
    "ChunkedBatchNorm",
    "DomainBatchNorm",
    "batch_norms",
    "convert_batch_norm",
    "fold_batch_norm",
    "match_domains",
    "route",
    "running_statistics",
    "whole_batches",
]
