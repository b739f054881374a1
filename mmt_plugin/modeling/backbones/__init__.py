"""Backbones that fastreid lacks."""

from .densenet import DenseNet, build_densenet_backbone
from .timm import TimmBackbone, build_timm_backbone

__all__ = ["DenseNet", "TimmBackbone", "build_densenet_backbone", "build_timm_backbone"]
