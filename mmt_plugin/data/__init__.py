"""Datasets, transforms, samplers and loaders."""

from . import synthetic, translated, visda  # registers their datasets

__all__ = ["synthetic", "translated", "visda"]
