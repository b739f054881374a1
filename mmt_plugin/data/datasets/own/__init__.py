"""Own cameras: folders and lists of crops as data sets, by configuration alone."""

from .crops import Crop
from .datasets import OwnDataset, configure
from .names import NamedNumber, is_own, unqualified

__all__ = ["Crop", "NamedNumber", "OwnDataset", "configure", "is_own", "unqualified"]
