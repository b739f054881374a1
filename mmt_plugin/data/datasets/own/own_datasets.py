"""Folders and lists of crops as fastreid datasets of the names ``folder:<path>`` and ``csv:<path>``."""

import logging
from collections.abc import Sequence
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from mmt_plugin.data.dataset import DatasetError, Item
from mmt_plugin.data.named import named_sets

from .folder import read_folder
from .known import Crop, Crops, known
from .names import FOLDER, JUNK, NamedNumber, is_own, number_names, qualified
from .options import Options, options_of
from .table import read_table

logger = logging.getLogger("fastreid.mmt.data")

# Queries and gallery images of no camera count as one camera each, so that no match is left out.
UNKNOWN_CAMERAS = {"query": NamedNumber(0, "unknown"), "gallery": NamedNumber(1, "unknown")}


class OwnDataset(ImageDataset):
    """A folder or list of crops.

    Training images need no identities and no cameras: what is not known is the same for all of them, and
    known names are kept apart from other data sets'. Query and gallery images need identities; their numbers
    print as the user's names. Images of the identity -1 are left out.

    Attributes:
        tracklets: of the training images that have one, by path. A tracklet is of one camera: equal names in
            two cameras are two tracklets.
        frames: of the training images that have one, by path, likewise: equal names in one camera are one
            moment.
    """

    _junk_pids = [-1]
    options: Options

    def __init__(self, root: str = "datasets", **kwargs: object) -> None:
        name = type(self).__name__
        location = Path(root, Path(name.partition(":")[2]).expanduser())
        crops = read_folder(location, self.options) if name.startswith(FOLDER) else read_table(location)
        self._known = {field: known(crops.train, field, name) for field in ("camera", "id")}
        self._wanted = crops.wanted
        train = [crop for crop in crops.train if crop.id != JUNK]
        if len(train) < len(crops.train):
            number = len(crops.train) - len(train)
            logger.info(f"{name}: left out {number} training images of the identity {JUNK}")
        self.tracklets, self.frames = (
            {
                crop.path: qualified(qualified(name, crop.camera), getattr(crop, field))
                for crop in train
                if getattr(crop, field)
            }
            for field in ("tracklet", "frame")
        )
        items = [(crop.path, qualified(name, crop.id), qualified(name, crop.camera)) for crop in train]
        super().__init__(items, *_labelled(crops, name), **kwargs)

    @property
    def dataset_name(self) -> str:
        """Prefix that the host gives identities when all subsets are combined for training."""
        return type(self).__name__

    def require(self, field: str, purpose: str) -> None:
        """Refuse training images of which nobody knows a "camera" or an "id".

        Raises:
            DatasetError: naming the column or key that would tell it, and what there is.
        """
        if not self._known[field]:
            raise DatasetError(
                f"{type(self).__name__} has no {field}, which {purpose} needs: {self._wanted[field]}"
            )


def _labelled(crops: Crops, name: str) -> tuple[list[Item], list[Item]]:
    """Query and gallery items with numbers for names, as the host's evaluation wants them; no junk."""
    everything = [*crops.query, *crops.gallery]
    has_ids, has_cameras = (known(everything, field, name) for field in ("id", "camera"))
    if everything and not has_ids:
        raise DatasetError(f"{name}: query and gallery images have no id, without which nothing is evaluated")
    ids = number_names(crop.id for crop in everything)
    cameras = number_names(crop.camera for crop in everything) if has_cameras else {}

    def items(part: Sequence[Crop], unknown: NamedNumber) -> list[Item]:
        return [
            (crop.path, ids[crop.id], cameras.get(crop.camera, unknown)) for crop in part if crop.id != JUNK
        ]

    return items(crops.query, UNKNOWN_CAMERAS["query"]), items(crops.gallery, UNKNOWN_CAMERAS["gallery"])


_registered: dict[str, type[OwnDataset]] = {}


def configure(cfg: CfgNode) -> None:
    """Register the own data sets that a configuration names, with its options, for this process.

    fastreid builds data sets from their name and root folder alone, so the options have to be known
    beforehand.
    """
    for name in {name for names in named_sets(cfg).values() for name in names}:
        if not is_own(name):
            continue
        if name not in _registered:
            _registered[name] = type(name, (OwnDataset,), {"__doc__": OwnDataset.__doc__})
            DATASET_REGISTRY.register(_registered[name])
        _registered[name].options = options_of(name, cfg)
