"""Own cameras: folders and lists of crops as data sets, by configuration alone."""

from .crops import Crop
from .datasets import OwnDataset, configure

__all__ = ["Crop", "OwnDataset", "configure"]
