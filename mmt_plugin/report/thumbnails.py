"""Small pictures that are part of the page."""

import base64
import io

from fastreid.data.data_utils import read_image
from PIL import Image, ImageDraw

HEIGHT, MAX_WIDTH = 96, 144


def thumbnail(path: str) -> str:
    """An image as a JPEG in a data URI, HEIGHT pixels high; a crossed grey one where it cannot be read."""
    try:
        image = read_image(path).convert("RGB")
    except Exception:  # of whatever kind: one missing picture must not cost the page
        image = _unreadable()
    width = min(MAX_WIDTH, max(1, round(image.width * HEIGHT / image.height)))
    buffer = io.BytesIO()
    image.resize((width, HEIGHT), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=72, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _unreadable() -> Image.Image:
    image = Image.new("RGB", (HEIGHT // 2, HEIGHT), "grey")
    draw = ImageDraw.Draw(image)
    draw.line((0, 0, *image.size), fill="white")
    draw.line((0, image.height, image.width, 0), fill="white")
    return image
