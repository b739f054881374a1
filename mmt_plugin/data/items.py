"""Data sets by name, and what they know of their training images. Shapes: N images."""

import os
from collections.abc import Sequence

import numpy as np
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset
from fastreid.utils import comm

from mmt_plugin.pseudo_labels.clustering.cannot_link import simultaneous

from .dataset import DatasetError, Item


def build_dataset(name: str, **options: object) -> ImageDataset:
    """A registered dataset, read from below the folder that FASTREID_DATASETS names.

    Raises:
        UnknownNameError: no data set of that name is registered; the message holds names like it.
        MissingFileError: its folder is not there.
        DataError: a file name, or a line of a list, does not tell what it should.
    """
    return DATASET_REGISTRY.get(name)(root=os.getenv("FASTREID_DATASETS", "datasets"), **options)


def training_items(names: Sequence[str], combineall: bool = False) -> list[Item]:
    """Training images of the named datasets, sorted by path, so that their order is the same on every machine
    and rank.

    Raises:
        DatasetError: if there are none.
    """
    datasets = [build_dataset(name, combineall=combineall) for name in names]
    if comm.is_main_process():
        for dataset in datasets:
            dataset.show_train()
    return items_of(datasets)


def items_of(datasets: Sequence[ImageDataset]) -> list[Item]:
    """Training images of data sets, sorted by path.

    Raises:
        DatasetError: one of them has none.
    """
    empty = [type(dataset).__name__ for dataset in datasets if not dataset.train]
    if empty or not datasets:
        raise DatasetError(f"no training images in {', '.join(empty) or 'no data set'}")
    return sorted(item for dataset in datasets for item in dataset.train)


def training_tracklets(names: Sequence[str], items: Sequence[Item]) -> np.ndarray:
    """Number of each image's tracklet, N integers; -1 for an image of none.

    Args:
        names: data sets; only own folders and lists know tracklets.
        items: their N training images.

    Raises:
        DatasetError: no image has a tracklet.
    """
    (tracklets,) = _numbers_of(("tracklets",), names, items)
    if tracklets.max(initial=-1) < 0:
        raise DatasetError(
            f"PSEUDO_LABELS.MUST_LINK is True, but the images of {', '.join(names)} name no tracklets: add a "
            "group (?P<tracklet>...) to DATASETS.OWN.PATTERN or a column tracklet to the CSV file, or set it "
            "False"
        )
    return tracklets


def training_frames(names: Sequence[str], items: Sequence[Item]) -> np.ndarray:
    """Number of the frame of a camera that each image was cut from, N integers; -1 where nobody knows it."""
    (frames,) = _numbers_of(("frames",), names, items)
    return frames


def _numbers_of(kinds: Sequence[str], names: Sequence[str], items: Sequence[Item]) -> list[np.ndarray]:
    """For each kind numbers from 0 for what data sets know of their training images by path; -1 for nothing.
    Each data set is read once.
    """
    datasets = [build_dataset(name) for name in names]
    numbers = []
    for kind in kinds:
        known: dict[str, str] = {}
        for dataset in datasets:
            known.update(getattr(dataset, kind, {}))
        values = ["", *(known.get(item[0], "") for item in items)]  # "" comes first
        numbers.append(dense_ids(values)[1:] - 1)
    return numbers


def exclusive_tracklets(names: Sequence[str], items: Sequence[Item]) -> np.ndarray:
    """Pairs of tracklets that share a frame of a camera and so are different people, P x 2.

    Raises:
        DatasetError: no image has a tracklet, or none has a frame.
    """
    tracklets, frames = training_tracklets(names, items), training_frames(names, items)
    if frames.max(initial=-1) < 0:
        raise DatasetError(
            f"PSEUDO_LABELS.CANNOT_LINK is True, but the images of {', '.join(names)} name no frames: add a "
            "group (?P<frame>...) to DATASETS.OWN.PATTERN or a column frame to the CSV file, or set it False"
        )
    return simultaneous(tracklets, frames)


def seen_together(names: Sequence[str], items: Sequence[Item]) -> tuple[np.ndarray, np.ndarray] | None:
    """Tracklets of N images, and the P x 2 pairs of them that share a frame; None where none do."""
    tracklets, frames = _numbers_of(("tracklets", "frames"), names, items)
    pairs = simultaneous(tracklets, frames)
    return (tracklets, pairs) if len(pairs) else None


def dense_ids(values: Sequence) -> np.ndarray:
    """Any identities or cameras -> 0..n-1, in sorted order."""
    return np.unique([str(value) for value in values], return_inverse=True)[1]
