"""Own cameras: folders and lists of crops as data sets, by configuration alone."""

from .known import Crop
from .names import NamedNumber, is_own, unqualified
from .own_datasets import OwnDataset, configure

__all__ = ["Crop", "NamedNumber", "OwnDataset", "configure", "is_own", "unqualified"]
