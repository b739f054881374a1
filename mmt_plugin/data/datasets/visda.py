"""Data sets of the VisDA-2020 challenge (github.com/Simon4Yan/VisDA2020): rendered PersonX, real target.

They lie below ``visda2020`` in the dataset root, in the challenge's own folders:

    personX/image_train, personX_sda/image_train, personX_spgan/image_train
    target_training/image_train, target_training/label_target_training.txt
    target_validation/image_query, target_validation/image_gallery
    target_test/image_query, target_test/image_gallery
    index_validation_query.txt, index_validation_gallery.txt, index_test_query.txt, index_test_gallery.txt
"""

import re
from collections.abc import Iterator
from pathlib import Path

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from mmt_plugin.data.dataset import Item
from mmt_plugin.errors import DataError
from mmt_plugin.system.files import read_text

# The target's five cameras, as the files number them.
TARGET_CAMERAS = {1: 0, 2: 1, 4: 2, 5: 3, 6: 4}
_NAME = re.compile(r"(-?\d+)_c(\d+)")


@DATASET_REGISTRY.register()
class PersonX(ImageDataset):
    """700 rendered identities in 20,280 images of 6 cameras; for training only."""

    folder = "personX"

    def __init__(self, root: str = "datasets", **kwargs: object) -> None:
        images = Path(root, "visda2020", self.folder, "image_train")
        self.check_before_run([str(images)])
        super().__init__(list(_rendered_people(images)), [], [], **kwargs)


@DATASET_REGISTRY.register()
class PersonXSDA(PersonX):
    """PersonX translated to the target's style by SDA."""

    folder = "personX_sda"


@DATASET_REGISTRY.register()
class PersonXSPGAN(PersonX):
    """PersonX translated to the target's style by SPGAN, as the challenge provides it."""

    folder = "personX_spgan"


@DATASET_REGISTRY.register()
class VisDA20(ImageDataset):
    """The target: 13,198 training images without identities, and the labelled validation set for testing.

    Attributes:
        index_files: the challenge's lists of "query" and "gallery", whose order a submission follows.
    """

    subset = "validation"

    def __init__(self, root: str = "datasets", **kwargs: object) -> None:
        folder = Path(root, "visda2020")
        training = folder / "target_training"
        images = {part: folder / f"target_{self.subset}" / f"image_{part}" for part in ("query", "gallery")}
        self.index_files = {part: folder / f"index_{self.subset}_{part}.txt" for part in images}
        labels = training / "label_target_training.txt"
        self.check_before_run([str(path) for path in (labels, *images.values(), *self.index_files.values())])
        super().__init__(
            list(_unlabelled(training / "image_train", labels)),
            *(list(self._listed(images[part], self.index_files[part])) for part in ("query", "gallery")),
            **kwargs,
        )

    @staticmethod
    def _listed(folder: Path, index_file: Path) -> Iterator[Item]:
        """The images that an index lists, one a line, its name first."""
        for path in _paths(folder, index_file):
            pid, camera = _identity_and_camera(path)
            yield str(path), pid, _target_camera(camera, path)


@DATASET_REGISTRY.register()
class VisDA20Test(VisDA20):
    """The same training images, and the challenge's test set, whose identities and cameras are secret: 0."""

    subset = "test"

    @staticmethod
    def _listed(folder: Path, index_file: Path) -> Iterator[Item]:
        for path in _paths(folder, index_file):
            yield str(path), 0, 0


def _rendered_people(folder: Path) -> Iterator[Item]:
    """Identities and cameras from names like 0001_c3s1_...; identity -1 is left out."""
    for path in sorted(folder.glob("*.jpg")):
        pid, camera = _identity_and_camera(path)
        if pid >= 0:
            yield str(path), f"personx_{pid}", f"personx_{camera}"


def _unlabelled(folder: Path, label_file: Path) -> Iterator[Item]:
    """Lines of "name camera ...": the camera is known, the identity is not and stands as 0."""
    for line in read_text(label_file).splitlines():
        if line.strip():
            name, _, camera = line.strip().partition(" ")
            camera = camera.split()[0] if camera.split() else ""
            if not camera.isdecimal():
                raise DataError(f"{label_file}: the line {line!r} is not <file name> <camera> ...")
            yield str(folder / name), "visda20_0", f"visda20_{_target_camera(int(camera), label_file)}"


def _paths(folder: Path, index_file: Path) -> Iterator[Path]:
    """The images that an index lists, one a line, its name first."""
    for line in read_text(index_file).splitlines():
        if line.strip():
            yield folder / line.split()[0]


def _target_camera(number: int, where: Path) -> int:
    if number not in TARGET_CAMERAS:
        raise DataError(
            f"{where}: there is no camera {number}; the target's are {', '.join(map(str, TARGET_CAMERAS))}"
        )
    return TARGET_CAMERAS[number]


def _identity_and_camera(path: Path) -> tuple[int, int]:
    match = _NAME.match(path.name)
    if match is None:
        raise DataError(f"{path}: the file name does not start with <identity>_c<camera>")
    return int(match[1]), int(match[2])
