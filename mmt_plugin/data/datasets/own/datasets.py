"""Folders and lists of crops as fastreid datasets of the names ``folder:<path>`` and ``csv:<path>``."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from mmt_plugin.data.dataset import DatasetError, Item
from mmt_plugin.data.datasets.own.names import FOLDER, is_own

from .crops import GALLERY, QUERY, TRAIN, Crop, known
from .folder import read_folder
from .table import read_table

JUNK_ID = -1


@dataclass(frozen=True)
class Options:
    """The keys of DATASETS.OWN."""

    camera_folders: bool
    pattern: str
    test_pattern: str


class OwnDataset(ImageDataset):
    """A folder or list of crops.

    Training images need no identities and no cameras: what is not known is the same for all of them, and
    known names are kept apart from other data sets'. Query and gallery images need identities; without
    cameras the two count as one camera each, so that no match is left out.

    Attributes:
        tracklets: of the training images that have one, by path. A tracklet is of one camera: equal names in
            two cameras are two tracklets.
    """

    _junk_pids = [JUNK_ID]
    options: Options

    def __init__(self, root: str = "datasets", **kwargs: object) -> None:
        name = type(self).__name__
        location = Path(root, Path(name.partition(":")[2]).expanduser())
        if name.startswith(FOLDER):
            crops = read_folder(location, **vars(self.options))
        else:
            crops = read_table(location)
        self.tracklets = {
            crop.path: f"{name}/{crop.camera}/{crop.tracklet}" for crop in crops[TRAIN] if crop.tracklet
        }
        super().__init__(_unlabelled(crops[TRAIN], name), *_labelled(crops, name), **kwargs)

    @property
    def dataset_name(self) -> str:
        """Prefix that the host gives identities when all subsets are combined for training."""
        return type(self).__name__


def _unlabelled(crops: Sequence[Crop], name: str) -> list[Item]:
    """Training items; identities, where they are known, serve a labelled source and the log."""
    for field in ("camera", "id"):
        known(crops, field, name)
    return [(crop.path, f"{name}/{crop.id}", f"{name}/{crop.camera}") for crop in crops]


def _labelled(crops: dict[str, list[Crop]], name: str) -> tuple[list[Item], list[Item]]:
    """Query and gallery items with numbers for names, as the host's evaluation wants them; no junk."""
    everything = [*crops[QUERY], *crops[GALLERY]]
    has_ids, has_cameras = (known(everything, field, name) for field in ("id", "camera"))
    if everything and not has_ids:
        raise DatasetError(f"{name}: query and gallery images have no id, without which nothing is evaluated")
    ids = _numbers(crop.id for crop in everything)
    cameras = _numbers(crop.camera for crop in everything) if has_cameras else {}
    parts = ((crops[QUERY], 0), (crops[GALLERY], 1))
    query, gallery = (
        [
            (crop.path, ids[crop.id], cameras.get(crop.camera, fallback))
            for crop in part
            if ids[crop.id] != JUNK_ID
        ]
        for part, fallback in parts
    )
    return query, gallery


def _numbers(names: Iterable[str]) -> dict[str, int]:
    """Names that are numbers stand for themselves; others are numbered in sorted order."""
    names = sorted(set(names))
    try:
        return {name: int(name) for name in names}
    except ValueError:
        return {name: number for number, name in enumerate(names)}


_registered: dict[str, type[OwnDataset]] = {}


def configure(cfg: CfgNode) -> None:
    """Register the own data sets that DATASETS.NAMES, TARGETS and TESTS name, with the options of
    DATASETS.OWN, for this process.

    fastreid builds data sets from their name and root folder alone, so the options have to be known
    beforehand.
    """
    own = cfg.DATASETS.OWN
    options = Options(own.CAMERA_FOLDERS, own.PATTERN, own.TEST_PATTERN)
    for name in {*cfg.DATASETS.NAMES, *cfg.DATASETS.TARGETS, *cfg.DATASETS.TESTS}:
        if not is_own(name):
            continue
        if name not in _registered:
            _registered[name] = type(name, (OwnDataset,), {"__doc__": OwnDataset.__doc__})
            DATASET_REGISTRY.register(_registered[name])
        _registered[name].options = options
