"""Datasets that know images only: identities are looked up outside, as pseudo labels change every epoch."""

from collections.abc import Callable, Sequence

from fastreid.data.data_utils import read_image
from torch import Tensor
from torch.utils.data import Dataset

from .transforms import MultiViewTransform, seeded

# (path, identity, camera), as fastreid's datasets list them.
Item = tuple[str, int | str, int | str]


class TrainImages(Dataset):
    """Augmented views of training images.

    An item is asked for by (index, seed): what comes back is a function of these two alone, whichever worker
    computes it, so that a run does not depend on the number of workers and a resumed run sees the images the
    uninterrupted one would have seen.
    """

    def __init__(self, items: Sequence[Item], transform: MultiViewTransform):
        self.items = items
        self.transform = transform

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor | int]:
        index, seed = key
        image = read_image(self.items[index][0])
        with seeded(seed):
            return {"images": self.transform(image), "indices": index}


class TestImages(Dataset):
    """Images under the test transform, in list order."""

    __test__ = False  # not a pytest class

    def __init__(self, items: Sequence[Item], transform: Callable):
        self.items = items
        self.transform = transform

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(read_image(self.items[index][0]))
