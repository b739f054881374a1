"""Layers that fastreid lacks: batch normalisation by chunk and by domain, and a margin classifier."""

from .arc_margin import ArcMarginSoftmax
from .batch_norm import ChunkedBatchNorm, DomainBatchNorm, whole_batches
from .conversion import batch_norms, convert_batch_norm, fold_batch_norm, match_domains
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
    "whole_batches",
]
