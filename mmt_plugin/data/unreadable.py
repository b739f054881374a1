"""Going on without images that cannot be read (DATALOADER.ON_BAD_IMAGE "skip"). Shapes: B batch, V views.

Loader workers hand such an image over as NaN. In a training batch a readable image takes its place, in
clustering it is left out; both are functions of the batch alone, whichever worker read it.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.data.data_utils import read_image
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from mmt_plugin.errors import UserError
from mmt_plugin.system.decoding import UnreadableImageError

logger = logging.getLogger("fastreid.mmt.data")


class TooManyUnreadableError(UserError, RuntimeError):
    """More of the training images cannot be read than DATALOADER.MAX_BAD_IMAGES allows."""


def read_picture(path: str, skip: bool) -> Image.Image | None:
    """The picture in a file; None for one that cannot be read where `skip` is set.

    Raises:
        UnreadableImageError: `skip` is not set.
    """
    try:
        return read_image(path)
    except UnreadableImageError as error:
        if not skip:
            raise
        logger.warning(f"Skipped: {error}")
        return None


def marked_unreadable(images: Tensor) -> Tensor:
    """NaN in the shape of images."""
    return torch.full_like(images, torch.nan, dtype=torch.float32)


def collate(samples: list) -> Any:
    """Batch samples by torch's rules. Images are bytes, or floats where an unreadable one is among them."""
    first = samples[0]
    if isinstance(first, dict):
        return {name: collate([sample[name] for sample in samples]) for name in first}
    if isinstance(first, Tensor) and any(sample.is_floating_point() for sample in samples):
        samples = [sample.float() for sample in samples]
    return default_collate(samples)


def unreadable_rows(images: Tensor) -> Tensor:
    """Which of B images (any shape) are stand-ins for unreadable ones, B booleans."""
    return images.flatten(1)[:, 0].isnan()


class UnreadableImages:
    """The unreadable images that an epoch has met."""

    def __init__(self, paths: Sequence[str], limit: float):
        """
        Args:
            paths: of all training images.
            limit: share of them that may be unreadable.
        """
        self.paths, self.limit = paths, limit
        self.indices: set[int] = set()

    @classmethod
    def from_config(cls, cfg: CfgNode, paths: Sequence[str]) -> "UnreadableImages":
        return cls(paths, cfg.DATALOADER.MAX_BAD_IMAGES)

    def add(self, indices: Iterable[int]) -> None:
        """Count images, each once.

        Raises:
            TooManyUnreadableError: these are too many.
        """
        self.indices.update(indices)
        if len(self.indices) > self.limit * len(self.paths):
            raise TooManyUnreadableError(
                f"{self.describe()}; more than the share of {self.limit} that DATALOADER.MAX_BAD_IMAGES "
                "allows"
            )

    def describe(self) -> str:
        """How many, and which, in one clause."""
        names = [self.paths[i] for i in sorted(self.indices)]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        return (
            f"{len(names)} of {len(self.paths)} training images cannot be read: {', '.join(names[:5])}{more}"
        )

    def replace(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Put readable images of the batch, of the same class where there is one, in unreadable ones' places.

        Args:
            batch: ``images`` B x V x 3 x H x W, ``targets``, ``indices`` and whatever else has B rows.

        Raises:
            TooManyUnreadableError: none of the batch can be read, or too many altogether.
        """
        bad = unreadable_rows(batch["images"])
        if not bad.any():
            return batch
        self.add(batch["indices"][bad].tolist())
        good = torch.nonzero(~bad)[:, 0]
        if not len(good):
            raise TooManyUnreadableError("no image of a whole batch can be read")
        rows = torch.arange(len(bad))
        for row in torch.nonzero(bad)[:, 0]:
            same_class = good[batch["targets"][good] == batch["targets"][row]]
            rows[row] = (same_class if len(same_class) else good)[0]
        return {name: value[rows] for name, value in batch.items()}
