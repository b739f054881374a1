"""Data sets of cameras: the images of another set, where who took a picture stands for who is on it.

A classifier trained on such a set recognises cameras; no identity is looked at. Evaluation as usual then
says how well its features tell cameras apart: Rank-1 is the share of query images whose nearest gallery image
is of the same camera.
"""

from collections.abc import Sequence

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from .dataset import Item


class CameraDataset(ImageDataset):
    """The images of ``images_of``, labelled by camera.

    Raises:
        ValueError: if the training images have no camera ids, or all the same.
    """

    images_of: str

    def __init__(self, root: str = "datasets", **kwargs: object) -> None:
        images = DATASET_REGISTRY.get(self.images_of)(root=root)
        cameras = {camera for *_, camera in images.train}
        if not 1 < len(cameras) < len(images.train):
            raise ValueError(
                f"{type(self).__name__}: {self.images_of} has {len(cameras)} camera ids for "
                f"{len(images.train)} training images, which no classifier of cameras can be trained on"
            )
        train = [(path, camera, camera) for path, _, camera in images.train]
        # Images of one "identity" under one "camera" would be junk: queries and gallery get different ones.
        super().__init__(train, _by_camera(images.query, 0), _by_camera(images.gallery, 1), **kwargs)


@DATASET_REGISTRY.register()
class VisDA20Cameras(CameraDataset):
    """The five cameras of VisDA-2020's target."""

    images_of = "VisDA20"


@DATASET_REGISTRY.register()
class SynthPlazaCameras(CameraDataset):
    """The cameras of the built-in square."""

    images_of = "SynthPlaza"


@DATASET_REGISTRY.register()
class SynthMetroCameras(CameraDataset):
    """The cameras of the built-in station."""

    images_of = "SynthMetro"


@DATASET_REGISTRY.register()
class Market1501Cameras(CameraDataset):
    """The six cameras of Market-1501."""

    images_of = "Market1501"


@DATASET_REGISTRY.register()
class DukeMTMCCameras(CameraDataset):
    """The eight cameras of DukeMTMC-reID."""

    images_of = "DukeMTMC"


def camera_domains(names: Sequence[str]) -> list[str] | None:
    """The sets whose cameras a model trained on the named sets recognises; None if it recognises anything
    else.
    """
    classes = [DATASET_REGISTRY._obj_map.get(name, object) for name in names]
    if not classes or not all(issubclass(each, CameraDataset) for each in classes):
        return None
    return [each.images_of for each in classes]


def _by_camera(items: Sequence[Item], camera_of_set: int) -> list[Item]:
    return [(path, camera, camera_of_set) for path, _, camera in items]
