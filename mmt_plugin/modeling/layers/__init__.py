"""Layers that fastreid lacks: routed batch normalisation and a margin classifier."""

from .arc_margin import ArcMarginSoftmax

__all__ = ["ArcMarginSoftmax"]
