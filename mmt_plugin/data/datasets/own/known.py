"""What is known of one image of an own data set."""

from collections.abc import Sequence
from typing import NamedTuple

from mmt_plugin.data.dataset import DatasetError

SUBSETS = TRAIN, QUERY, GALLERY = ("train", "query", "gallery")


class Crop(NamedTuple):
    """An image file; None is what nobody knows."""

    path: str
    camera: str | None = None
    tracklet: str | None = None
    id: str | None = None
    frame: str | None = None


class Crops(NamedTuple):
    """All images of a data set, by subset.

    Attributes:
        wanted: by field, a sentence that says where it was looked for, and what there is instead.
    """

    train: list[Crop]
    query: list[Crop]
    gallery: list[Crop]
    wanted: dict[str, str]


def known(crops: Sequence[Crop], field: str, where: str) -> bool:
    """Whether a field is known, of all images or of none.

    Raises:
        DatasetError: some images have it and some do not.
    """
    with_it = [getattr(crop, field) is not None for crop in crops]
    if any(with_it) and not all(with_it):
        raise DatasetError(
            f"{where}: {crops[with_it.index(False)].path!r} has no {field}, but {sum(with_it)} of the "
            f"{len(crops)} images have one: give every image a {field}, or none"
        )
    return any(with_it)
