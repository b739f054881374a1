"""Data sets of cameras: the images of another set, where who took a picture stands for who is on it.

A classifier trained on such a set recognises cameras; no identity is looked at. Evaluation as usual then
says how well its features tell cameras apart: Rank-1 is the share of query images whose nearest gallery image
is of the same camera.
"""

from collections.abc import Sequence

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from mmt_plugin.data.dataset import Item
from mmt_plugin.errors import DataError

# The sets of the shipped recipes.
SETS = ("VisDA20", "SynthPlaza", "SynthMetro", "Market1501", "DukeMTMC")


class CameraDataset(ImageDataset):
    """The images of ``images_of``, labelled by camera.

    Raises:
        DataError: if the training images have no camera ids, or all the same.
    """

    images_of: str

    def __init__(self, root: str = "datasets", **kwargs: object) -> None:
        images = DATASET_REGISTRY.get(self.images_of)(root=root)
        cameras = {camera for *_, camera in images.train}
        if not 1 < len(cameras) < len(images.train):
            raise DataError(
                f"{type(self).__name__}: {self.images_of} has {len(cameras)} camera ids for "
                f"{len(images.train)} training images, which no classifier of cameras can be trained on"
            )
        train = [(path, camera, camera) for path, _, camera in images.train]
        # Images of one "identity" under one "camera" would be junk: queries and gallery get different ones.
        super().__init__(train, _by_camera(images.query, 0), _by_camera(images.gallery, 1), **kwargs)


for _name in SETS:
    _documentation = f"The cameras of {_name}; see `mmt_plugin.data.datasets.cameras`."
    DATASET_REGISTRY.register(
        type(f"{_name}Cameras", (CameraDataset,), {"images_of": _name, "__doc__": _documentation})
    )


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
