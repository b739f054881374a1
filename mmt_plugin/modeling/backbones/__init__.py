"""Backbones that fastreid lacks."""

from .densenet import DenseNet, build_densenet_backbone
from .people_vit import PeopleViT, build_people_vit_backbone
from .solider import SoliderBackbone, build_solider_backbone
from .timm import TimmBackbone, build_timm_backbone

__all__ = [
    "DenseNet",
    "PeopleViT",
    "SoliderBackbone",
    "TimmBackbone",
    "build_densenet_backbone",
    "build_people_vit_backbone",
    "build_solider_backbone",
    "build_timm_backbone",
]
