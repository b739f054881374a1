"""What stands behind people (one fixed backdrop for each camera) and before them, hiding a part of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .identity import Colour

# A backdrop is this many pictures wide, so that two people rarely stand before the same spot.
BACKDROP_WIDTH = 5


def _shift(rng: np.random.Generator, colour: Colour, amount: float) -> Colour:
    red, green, blue = (
        np.clip(np.asarray(colour) + rng.normal(0, amount) + rng.normal(0, amount / 3, 3), 0, 255)
        .astype(int)
        .tolist()
    )
    return red, green, blue


def _one_of(rng: np.random.Generator, colours: list[Colour]) -> Colour:
    return _shift(rng, colours[int(rng.integers(len(colours)))], 12)


def paint_plaza(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A square in daylight: facades or hedges behind, paving in front, trees, benches and bins."""
    width, height = size
    image = Image.new(
        "RGB",
        size,
        _one_of(rng, [(178, 166, 148), (150, 142, 138), (196, 188, 172), (140, 96, 80), (120, 132, 140)]),
    )
    draw = ImageDraw.Draw(image)
    horizon = int(height * rng.uniform(0.3, 0.52))
    if rng.random() < 0.6:
        _windows(rng, draw, width, horizon)
    else:
        for _ in range(int(rng.integers(60, 110))):
            x, y, r = rng.uniform(0, width), rng.uniform(0, horizon), rng.uniform(0.05, 0.14) * height
            draw.ellipse((x - r, y - r, x + r, y + 0.8 * r), fill=_shift(rng, (72, 98, 56), 16))
    paving = _one_of(rng, [(168, 162, 152), (142, 142, 146), (184, 172, 150), (126, 120, 114)])
    _floor(rng, draw, width, height, horizon, paving, line=-18)
    for _ in range(int(rng.integers(2, 6))):
        x, base = rng.uniform(0, width), rng.uniform(horizon, 0.9 * height)
        kind = rng.random()
        if kind < 0.4:
            draw.rectangle((x, 0, x + 0.03 * height, base), fill=_shift(rng, (84, 66, 50), 8))
        elif kind < 0.7:
            draw.rectangle(
                (x, base - 0.1 * height, x + 0.4 * height, base - 0.06 * height),
                fill=_shift(rng, (120, 82, 52), 10),
            )
            draw.rectangle((x, base - 0.06 * height, x + 0.03 * height, base), fill=(60, 56, 54))
        else:
            draw.rectangle(
                (x, base - 0.18 * height, x + 0.1 * height, base), fill=_shift(rng, (70, 96, 84), 14)
            )
    return image


def paint_metro(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A station under artificial light: tiled walls, posters, doors, a dark floor with a safety line."""
    width, height = size
    tile = _one_of(rng, [(206, 204, 192), (150, 158, 160), (178, 168, 130), (112, 124, 132), (96, 92, 92)])
    image = Image.new("RGB", size, tile)
    draw = ImageDraw.Draw(image)
    horizon = int(height * rng.uniform(0.42, 0.66))
    step = max(int(height * rng.uniform(0.05, 0.1)), 4)
    for y in range(0, horizon, step):
        draw.line((0, y, width, y), fill=_shift(rng, (tile[0] - 26, tile[1] - 26, tile[2] - 26), 3))
    for x in range(0, width, 2 * step):
        draw.line((x, 0, x, horizon), fill=(max(tile[0] - 30, 0), max(tile[1] - 30, 0), max(tile[2] - 30, 0)))
    band = int(horizon * rng.uniform(0.3, 0.75))
    draw.rectangle(
        (0, band, width, band + 0.07 * height),
        fill=_one_of(rng, [(30, 70, 140), (150, 36, 40), (40, 110, 70), (190, 150, 40)]),
    )
    x = rng.uniform(0, 0.5 * height)
    while x < width:
        w = rng.uniform(0.2, 0.5) * height
        kind = rng.random()
        if kind < 0.4:
            draw.rectangle((x, 0.1 * horizon, x + w, 0.7 * horizon), fill=_shift(rng, (150, 120, 110), 60))
            draw.rectangle(
                (x + 0.15 * w, 0.2 * horizon, x + 0.85 * w, 0.45 * horizon),
                fill=_shift(rng, (190, 180, 160), 50),
            )
        elif kind < 0.6:
            draw.rectangle((x, 0.15 * horizon, x + w, horizon), fill=_shift(rng, (84, 88, 94), 14))
            draw.line((x + w / 2, 0.15 * horizon, x + w / 2, horizon), fill=(40, 42, 46), width=2)
        x += w + rng.uniform(0.3, 1.4) * height
    floor = _one_of(rng, [(92, 90, 88), (116, 110, 102), (70, 72, 78), (134, 126, 112)])
    _floor(rng, draw, width, height, horizon, floor, line=12)
    if rng.random() < 0.6:
        y = horizon + rng.uniform(0.1, 0.4) * (height - horizon)
        draw.rectangle((0, y, width, y + 0.035 * height), fill=_shift(rng, (196, 164, 52), 10))
    return image


def _windows(rng: np.random.Generator, draw: ImageDraw.ImageDraw, width: int, horizon: int) -> None:
    step = horizon * rng.uniform(0.35, 0.8)
    glass = _one_of(rng, [(82, 96, 110), (60, 66, 74), (120, 136, 150)])
    for column in range(int(width / step) + 1):
        x = column * step + rng.uniform(0, 0.1) * step
        if rng.random() < 0.8:
            draw.rectangle((x, 0.12 * horizon, x + 0.55 * step, 0.62 * horizon), fill=_shift(rng, glass, 8))
        elif rng.random() < 0.5:
            draw.rectangle((x, 0.3 * horizon, x + 0.7 * step, horizon), fill=_shift(rng, (104, 80, 66), 24))


def _floor(
    rng: np.random.Generator,
    draw: ImageDraw.ImageDraw,
    width: int,
    height: int,
    horizon: int,
    colour: Colour,
    line: int,
) -> None:
    """Ground below the horizon, with joints that grow wider apart towards the viewer."""
    draw.rectangle((0, horizon, width, height), fill=colour)
    joint = (colour[0] + line, colour[1] + line, colour[2] + line)
    y, gap = float(horizon), 0.02 * height
    while y < height:
        draw.line((0, y, width, y), fill=joint)
        y, gap = y + gap, gap * 1.35
    spread = rng.uniform(0.15, 0.3) * height
    for column in range(int(width / spread) + 1):
        x = column * spread
        draw.line((x, horizon, x + (x - width / 2) * 0.4, height), fill=joint)


def backdrop(
    paint: Callable[[np.random.Generator, tuple[int, int]], Image.Image],
    rng: np.random.Generator,
    size: tuple[int, int],
) -> Image.Image:
    """A camera's whole view, out of focus: RGB, ``BACKDROP_WIDTH`` pictures of ``size`` wide."""
    width, height = size
    image = paint(rng, (width * BACKDROP_WIDTH, int(height * 1.2)))
    image = image.filter(ImageFilter.GaussianBlur(height / 80))
    veil = Image.new("RGB", image.size, tuple(np.asarray(image).mean((0, 1)).astype(int).tolist()))
    return Image.blend(image, veil, 0.45)


def crop_backdrop(view: Image.Image, size: tuple[int, int], where: float, drop: float) -> Image.Image:
    """The part of a view behind somebody: ``where`` across and ``drop`` down, both in [0, 1]."""
    width, height = size
    left, upper = int(where * (view.width - width)), int(drop * (view.height - height))
    return view.crop((left, upper, left + width, upper + height))


def hide_behind(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """Puts a thing in front of the person: a pole, a box, a railing or a bench."""
    width, height = size
    kind = rng.random()
    colour = _shift(rng, (110, 108, 106), 36)
    if kind < 0.35:
        x, w = rng.uniform(0.1, 0.85) * width, rng.uniform(0.08, 0.18) * width
        draw.rectangle((x, 0, x + w, height), fill=colour)
        draw.rectangle((x + 0.65 * w, 0, x + w, height), fill=(0, 0, 0, 70))
    elif kind < 0.7:
        top, x, w = (
            rng.uniform(0.55, 0.8) * height,
            rng.uniform(-0.3, 0.6) * width,
            rng.uniform(0.45, 0.9) * width,
        )
        draw.rectangle((x, top, x + w, height), fill=_shift(rng, (134, 104, 74), 30))
        draw.line((x, top, x + w, top), fill=(40, 34, 30), width=max(height // 90, 1))
    else:
        top = rng.uniform(0.5, 0.75) * height
        thick = max(int(0.018 * height), 1)
        for row in range(int(rng.integers(2, 4))):
            draw.rectangle(
                (0, top + 0.09 * row * height, width, top + 0.09 * row * height + thick), fill=colour
            )
        for post in range(3):
            x = (post + rng.uniform(0, 1)) * width / 3
            draw.rectangle((x, top, x + thick, height), fill=colour)
