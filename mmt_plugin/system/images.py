"""Image files of every kind as 8-bit RGB."""

from fastreid.utils.file_io import PathManager
from PIL import Image, ImageOps

from mmt_plugin.errors import UserError

# Pixel modes with more than 8 bits: a conversion by Pillow would clip them to white.
_DEEP_MODES = ("I", "F")
# A crop of a person or a vehicle has a few hundred thousand; more is a mistake, or meant to exhaust memory.
MAX_PIXELS = 50_000_000


class UnreadableImageError(UserError, ValueError):
    """A file that is no image, or not one that can be trained on; the message names it and says why."""


def _decode(file_name: str) -> Image.Image:
    with PathManager.open(file_name, "rb") as file:
        image = Image.open(file)
        if image.width * image.height > MAX_PIXELS:
            raise UnreadableImageError(
                f"{file_name} is refused: its header announces {image.width} x {image.height} pixels, "
                f"more than {MAX_PIXELS:,}"
            )
        return as_rgb(image, file_name)


def as_rgb(image: Image.Image, name: str) -> Image.Image:
    """An image as 8-bit RGB, turned as its EXIF data say.

    Args:
        image: of any mode.
        name: what to call it in the error.

    Raises:
        UnreadableImageError: it has more than 8 bits a channel.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(_DEEP_MODES):
        raise UnreadableImageError(
            f"{name} has more than 8 bits a channel (mode {image.mode}): convert it to 8-bit RGB"
        )
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
