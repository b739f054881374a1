"""A trained network in use: features of any images, and files that need no plugin."""

from .exports import FORMATS, export
from .extractor import FeatureExtractor
from .inference_network import ExportError

__all__ = ["FORMATS", "ExportError", "FeatureExtractor", "export"]
