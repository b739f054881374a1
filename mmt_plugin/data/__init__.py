"""Datasets, transforms, samplers and loaders."""

from . import cameras, synthetic, visda  # registers their datasets

__all__ = ["cameras", "synthetic", "visda"]
