"""Datasets, transforms, samplers and loaders."""

from . import synthetic  # registers the built-in world's domains

__all__ = ["synthetic"]
