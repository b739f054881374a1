"""Images of any kind for a network: files, arrays and pictures. Shapes: H height, W width."""

import logging
import os
from collections.abc import Callable, Sequence

import numpy as np
from fastreid.data.data_utils import read_image
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mmt_plugin.system.decoding import UnreadableImageError, as_rgb

logger = logging.getLogger("fastreid.mmt")

# A file, an H x W x 3 array of uint8 in RGB order, or a picture of Pillow's.
ImageLike = str | os.PathLike | np.ndarray | Image.Image


class GivenImages(Dataset):
    """Images under the test transform, in the order given."""

    def __init__(
        self,
        images: Sequence[ImageLike],
        transform: Callable[[Image.Image], Tensor],
        skipped: Tensor | None = None,
    ):
        """
        Args:
            images: of any kind and size.
            transform: of the test.
            skipped: what stands for an image that cannot be read; None: such an image is an error.
        """
        self.images, self.transform, self.skipped = images, transform, skipped

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        try:
            return self.transform(to_picture(self.images[index], f"image {index}"))
        except UnreadableImageError as error:
            if self.skipped is None:
                raise
            logger.warning(f"skipped: {error}")
            return self.skipped


def to_picture(image: ImageLike, name: str) -> Image.Image:
    """An RGB picture.

    Args:
        image: what was given.
        name: what to call it in an error, if it is no file.

    Raises:
        UnreadableImageError: the file, or the picture, cannot be used; the message names it.
        TypeError: it is nothing of the three.
        ValueError: an array of another shape or type.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_image(os.fspath(image))
    if isinstance(image, Image.Image):
        return as_rgb(image, name)
    if not isinstance(image, np.ndarray):
        raise TypeError(f"{name} is a {type(image).__name__}; give a path, an array or a Pillow image")
    if image.size == 0:
        raise UnreadableImageError(f"{name} is empty: its shape is {image.shape}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"{name} is an array of {image.dtype} and shape {image.shape}; expected H x W x 3 of uint8, RGB"
        )
    return Image.fromarray(image)
