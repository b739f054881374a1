"""Datasets, transforms, samplers and loaders."""

from . import synthetic, visda  # registers their datasets

__all__ = ["synthetic", "visda"]
