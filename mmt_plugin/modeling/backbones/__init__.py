"""Backbones that fastreid lacks."""

from .densenet import DenseNet, build_densenet_backbone

__all__ = ["DenseNet", "build_densenet_backbone"]
