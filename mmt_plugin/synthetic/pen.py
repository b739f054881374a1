"""A pen that draws body parts in body units, with cel shading, seen from a tilted camera.

Body units: x is 0 at the body's vertical axis, y runs from 0 (top of an average head) to 1 (soles). One unit
is the figure's height in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw

from .identity import Colour, Garment

Point = tuple[float, float]
# What a shape is filled with: a colour, or a picture of the canvas's size that shows through the shape.
Fill = Colour | Image.Image


def darker(colour: Colour, factor: float) -> Colour:
    """Scales a colour towards black."""
    return int(colour[0] * factor), int(colour[1] * factor), int(colour[2] * factor)


class Pen:
    """Draws on an RGB canvas, round a figure at ``centre_x`` whose head begins at ``top`` (in pixels).

    Args:
        canvas: RGB image drawn upon.
        height: the figure's height in pixels.
        width: horizontal stretch of the figure.
        tilt: how far the camera looks down: 0 is eye level; the head grows and the legs shorten with it.
        light: where light comes from, -1 (left) to 1 (right); the other side of every part is shaded.
        shade: darkness of the shaded side, 0 to 1.
    """

    def __init__(
        self,
        canvas: Image.Image,
        centre_x: float,
        top: float,
        height: float,
        width: float = 1.0,
        tilt: float = 0.0,
        light: float = 0.0,
        shade: float = 0.3,
    ) -> None:
        self.canvas = canvas
        # The RGBA mode blends translucent fills into an RGB canvas.
        self.draw = ImageDraw.Draw(canvas, "RGBA")
        self.centre_x, self.top, self.height, self.width, self.tilt = centre_x, top, height, width, tilt
        self.dark_side = -1.0 if light > 0 else 1.0
        self.shade: tuple[int, int, int, int] = (8, 8, 16, int(255 * shade * (0.4 + 0.6 * abs(light))))

    def at(self, x: float, y: float) -> Point:
        """Pixel position of a point in body units."""
        along = y * (1.0 + self.tilt) - self.tilt * y * y
        across = x * self.width * (1.0 + self.tilt * (0.5 - y))
        return self.centre_x + across * self.height, self.top + along * self.height

    def _stamp(self, fill: Fill, shape: Callable[[ImageDraw.ImageDraw, Colour | int], None]) -> None:
        if isinstance(fill, Image.Image):
            mask = Image.new("L", self.canvas.size, 0)
            shape(ImageDraw.Draw(mask), 255)
            self.canvas.paste(fill, (0, 0), mask)
        else:
            shape(self.draw, fill)

    def polygon(self, points: Sequence[Point], fill: Fill) -> None:
        """A filled polygon without shading."""
        pixels = [self.at(x, y) for x, y in points]
        self._stamp(fill, lambda draw, ink: draw.polygon(pixels, fill=ink))

    def ellipse(self, x: float, y: float, radius_x: float, radius_y: float, fill: Fill) -> None:
        """An axis-parallel ellipse without shading."""
        (left, upper), (right, lower) = (
            self.at(x - radius_x, y - radius_y),
            self.at(x + radius_x, y + radius_y),
        )
        self._stamp(fill, lambda draw, ink: draw.ellipse((left, upper, right, lower), fill=ink))

    def ball(self, x: float, y: float, radius_x: float, radius_y: float, fill: Fill) -> None:
        """An ellipse with its far side shaded."""
        self.ellipse(x, y, radius_x, radius_y, fill)
        self.ellipse(x + self.dark_side * 0.5 * radius_x, y, 0.5 * radius_x, 0.9 * radius_y, self.shade)

    def column(self, profile: Sequence[tuple[float, float, float]], fill: Fill) -> None:
        """A body part round a vertical axis: rows of (x of the axis, y, half width)."""
        left = [(x - half, y) for x, y, half in profile]
        right = [(x + half, y) for x, y, half in profile]
        self.polygon(left + right[::-1], fill)
        edge = right if self.dark_side > 0 else left
        core = [(x + self.dark_side * 0.35 * half, y) for x, y, half in profile]
        self.polygon(core + edge[::-1], self.shade)

    def limb(self, joints: Sequence[Point], radii: Sequence[float], fill: Fill) -> None:
        """An arm or leg: tapered segments with round joints, shaded on the dark side."""
        pixels = [self.at(x, y) for x, y in joints]
        sizes = [max(radius * self.height * self.width, 0.6) for radius in radii]
        quads, shadows = [], []
        for (x0, y0), (x1, y1), r0, r1 in zip(pixels, pixels[1:], sizes, sizes[1:], strict=False):
            length = math.hypot(x1 - x0, y1 - y0) or 1.0
            nx, ny = (y1 - y0) / length, -(x1 - x0) / length
            if nx * self.dark_side < 0:
                nx, ny = -nx, -ny
            outer0, outer1 = (x0 + nx * r0, y0 + ny * r0), (x1 + nx * r1, y1 + ny * r1)
            quads.append([outer0, outer1, (x1 - nx * r1, y1 - ny * r1), (x0 - nx * r0, y0 - ny * r0)])
            shadows.append(
                [
                    outer0,
                    outer1,
                    (x1 + nx * r1 * 0.2, y1 + ny * r1 * 0.2),
                    (x0 + nx * r0 * 0.2, y0 + ny * r0 * 0.2),
                ]
            )

        def shape(draw: ImageDraw.ImageDraw, ink: Colour | int) -> None:
            for quad in quads:
                draw.polygon(quad, fill=ink)
            for (x, y), r in zip(pixels, sizes, strict=True):
                draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)

        self._stamp(fill, shape)
        for shadow in shadows:
            self.draw.polygon(shadow, fill=self.shade)

    def line(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """A stroke of ``width`` body units."""
        pixels = [self.at(x, y) for x, y in points]
        self.draw.line(pixels, fill=fill, width=max(round(width * self.height), 1))

    def cloth(self, garment: Garment, axis: float) -> Fill:
        """What a garment's shapes are filled with; patterns hang on the body's ``axis`` (x)."""
        if garment.pattern in ("plain", "logo"):  # a logo is printed on the chest later, not woven in
            return garment.colour
        texture = Image.new("RGB", self.canvas.size, garment.colour)
        draw = ImageDraw.Draw(texture)
        width, height = texture.size
        unit = self.height
        middle, shoulders = self.at(axis, 0.17)
        if garment.pattern == "block":
            draw.rectangle((0, shoulders + 0.13 * unit, width, height), fill=garment.accent)
        if garment.pattern in ("stripes", "checks"):
            step = 0.085 * unit
            for row in range(-2, int(height / step) + 2):
                y = shoulders + row * step
                draw.rectangle((0, y, width, y + 0.45 * step), fill=garment.accent)
        if garment.pattern in ("bars", "checks"):
            step = 0.08 * unit
            columns = int(width / step) + 1
            for column in range(-columns, columns):
                x = middle + (column - 0.2) * step
                draw.rectangle((x, 0, x + 0.4 * step, height), fill=garment.accent)
        return texture
