"""Datasets that know images only: identities are looked up outside, as pseudo labels change every epoch."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import PurePath

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mmt_plugin.errors import UserError

from .transforms import MultiViewTransform, seeded
from .unreadable import marked_unreadable, read_picture

# (path, identity, camera), as fastreid's datasets list them.
Item = tuple[str, int | str, int | str]


class DatasetError(UserError, RuntimeError):
    """Data that cannot be used as the configuration asks; the message names the file or key, and what to
    change.
    """


def images_digest(items: Sequence[Item]) -> str:
    """Number of images and a hash of their names, which does not change when the folder moves."""
    names = "\n".join("/".join(PurePath(item[0]).parts[-2:]) for item in items)
    return f"{len(items)} images, names {hashlib.sha256(names.encode()).hexdigest()[:12]}"


class ImageFiles:
    """Pictures as they lie in their files, resized where a transform starts with that."""

    def __init__(self, paths: Sequence[str], resize: Callable | None, skip_unreadable: bool = False):
        """
        Args:
            paths: N files.
            resize: what to do with every picture first.
            skip_unreadable: whether a file that cannot be read is no picture, rather than an error.
        """
        self.paths, self.resize, self.skip_unreadable = paths, resize, skip_unreadable

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image.Image | None:
        """One picture; None if it cannot be read and may be skipped.

        Raises:
            UnreadableImageError: it cannot be read, and may not be skipped.
        """
        picture = read_picture(self.paths[index], self.skip_unreadable)
        return self._resized(picture) if picture is not None else None

    def blank(self) -> Image.Image:
        """Black, of a size that the transform takes."""
        return self._resized(Image.new("RGB", (8, 8)))

    def _resized(self, picture: Image.Image) -> Image.Image:
        return picture if self.resize is None else self.resize(picture)


class TrainImages(Dataset):
    """Augmented views of training images.

    An item is asked for by (index, seed): what comes back is a function of these two alone, whichever worker
    computes it, so that a run does not depend on the number of workers and a resumed run sees the images the
    uninterrupted one would have seen.
    """

    def __init__(self, pictures: ImageFiles, transform: MultiViewTransform):
        self.pictures, self.transform = pictures, transform

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor | int]:
        index, seed = key
        picture = self.pictures[index]
        with seeded(seed):
            sample = self.transform(self.pictures.blank() if picture is None else picture)
        if picture is None:
            sample["images"] = marked_unreadable(sample["images"])
        return {**sample, "indices": index}


class TestImages(Dataset):
    """Images under the test transform, in list order."""

    __test__ = False  # not a pytest class

    def __init__(self, pictures: ImageFiles, transform: Callable[[Image.Image], Tensor]):
        self.pictures, self.transform = pictures, transform

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Tensor:
        picture = self.pictures[index]
        if picture is None:
            return marked_unreadable(self.transform(self.pictures.blank()))
        return self.transform(picture)
