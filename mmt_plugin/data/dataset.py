"""Datasets that know images only: identities are looked up outside, as pseudo labels change every epoch."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import PurePath

from torch import Tensor
from torch.utils.data import Dataset

from .transforms import MultiViewTransform, seeded
from .unreadable import read_or_nan

# (path, identity, camera), as fastreid's datasets list them.
Item = tuple[str, int | str, int | str]


class DatasetError(RuntimeError):
    """Data that cannot be used as the configuration asks; the message names the file or key, and what to
    change.
    """


def images_digest(items: Sequence[Item]) -> str:
    """Number of images and a hash of their names, which does not change when the folder moves."""
    names = "\n".join("/".join(PurePath(item[0]).parts[-2:]) for item in items)
    return f"{len(items)} images, names {hashlib.sha256(names.encode()).hexdigest()[:12]}"


class TrainImages(Dataset):
    """Augmented views of training images.

    An item is asked for by (index, seed): what comes back is a function of these two alone, whichever worker
    computes it, so that a run does not depend on the number of workers and a resumed run sees the images the
    uninterrupted one would have seen.
    """

    def __init__(self, items: Sequence[Item], transform: MultiViewTransform, skip_unreadable: bool = False):
        self.items = items
        self.transform = transform
        self.skip_unreadable = skip_unreadable

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor | int]:
        index, seed = key
        with seeded(seed):
            images = read_or_nan(self.items[index][0], self.transform, self.skip_unreadable)
        return {"images": images, "indices": index}


class TestImages(Dataset):
    """Images under the test transform, in list order."""

    __test__ = False  # not a pytest class

    def __init__(self, items: Sequence[Item], transform: Callable, skip_unreadable: bool = False):
        self.items = items
        self.transform = transform
        self.skip_unreadable = skip_unreadable

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Tensor:
        return read_or_nan(self.items[index][0], self.transform, self.skip_unreadable)
