"""Images: reading, conversion to tensors, affine augmentation."""

import numpy as np
import torch
from fastreid.data import data_utils
from fastreid.data.transforms import build, functional
from PIL import Image

from . import parts
from .patching import Overlay, replace


def read_every_image_as_rgb() -> None:
    """Without it CMYK and RGBA files arrive with 4 channels and LA files with 2, which no batch can hold, and
    palette files as grey nonsense; a missing or damaged file is not named; and PostScript is run.
    """
    replace(data_utils, "read_image", lambda _: _read_image)


def _read_image(file_name: str, format: str | None = None) -> Image.Image:
    """Read an image, turned as its EXIF data say; of an animation, the first frame.

    Args:
        file_name: path of the image.
        format: a Pillow mode or "BGR"; None means RGB.
    """
    image = parts.given.read_image(file_name)
    if format == "BGR":
        return Image.fromarray(np.asarray(image)[:, :, ::-1])
    return image if format is None else image.convert(format)


def convert_images_under_numpy_2() -> None:
    """Without it images of mode "1", "I" and "I;16" raise "Unable to avoid copy", and every loader worker
    warns of TypedStorage.
    """
    replace(functional, "to_tensor", _to_tensor)


def _to_tensor(host_to_tensor):
    def to_tensor(picture: Image.Image | np.ndarray) -> torch.Tensor:
        """An image as a C x H x W tensor, 8-bit values as float32 in [0, 255]."""
        if isinstance(picture, np.ndarray):
            return host_to_tensor(picture)
        pixels = np.array(picture)
        if picture.mode == "1":
            pixels = pixels.astype(np.uint8) * 255
        elif picture.mode == "I;16":
            pixels = pixels.astype(np.int16)
        tensor = torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1).contiguous()
        return tensor.float() if tensor.dtype == torch.uint8 else tensor

    return to_tensor


def build_affine_augmentation() -> None:
    """Without it INPUT.AFFINE.ENABLED ends in "unexpected keyword argument 'resample'"."""
    transforms = build.T

    def random_affine(*args, resample=0, fillcolor=0, **kwargs):
        return transforms.RandomAffine(*args, interpolation=int(resample), fill=fillcolor, **kwargs)

    build.T = Overlay(transforms, RandomAffine=random_affine)


REPAIRS = (read_every_image_as_rgb, convert_images_under_numpy_2, build_affine_augmentation)
