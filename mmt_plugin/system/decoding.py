"""Image files of every kind as 8-bit RGB."""

import os
import stat
import struct
from functools import lru_cache

from fastreid.utils.file_io import PathManager
from PIL import Image, ImageOps

from mmt_plugin.errors import UserError

# Pillow tells formats by their content, not by the name. Of those it can read, PostScript starts a program,
# and most others nobody keeps photographs in.
FORMATS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM")
# Pixel modes with more than 8 bits: a conversion by Pillow would clip them to white.
_DEEP_MODES = ("I", "F")
# A crop of a person or a vehicle has a few hundred thousand; more is a mistake, or meant to exhaust memory.
MAX_PIXELS = 50_000_000


class UnreadableImageError(UserError, ValueError):
    """A file that is no image, or not one that can be trained on; the message names it and says why."""


def read_image(file_name: str) -> Image.Image:
    """Read an image as RGB, turned as its EXIF data say; of an animation, the first frame.

    Raises:
        UnreadableImageError: the file is missing, no regular file, truncated, of none of FORMATS, absurdly
            large, or has more than 8 bits a channel.
    """
    try:
        return _decode(file_name)
    except UnreadableImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise UnreadableImageError(
            f"{file_name} cannot be read as an image: its content is none of {', '.join(FORMATS)}"
        ) from error
    # Pillow's decoders raise what the damage makes of them.
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, IndexError, KeyError) as error:
        reason = getattr(error, "strerror", None) or str(error).replace(f" {file_name!r}", "")
        raise UnreadableImageError(f"{file_name} cannot be read as an image: {reason}") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"{file_name} is refused: {error}") from error


def _decode(file_name: str) -> Image.Image:
    # Opening a pipe would wait for its writer, for ever.
    if "://" not in file_name and not stat.S_ISREG(os.stat(file_name).st_mode):
        raise UnreadableImageError(f"{file_name} is refused: it is no regular file")
    with PathManager.open(file_name, "rb") as file:
        image = Image.open(file, formats=_available_formats())
        if image.width * image.height > MAX_PIXELS:
            raise UnreadableImageError(
                f"{file_name} is refused: its header announces {image.width} x {image.height} pixels, "
                f"more than {MAX_PIXELS:,}"
            )
        return as_rgb(image, file_name)


@lru_cache
def _available_formats() -> tuple[str, ...]:
    """Those of FORMATS that this build of Pillow reads."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


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
