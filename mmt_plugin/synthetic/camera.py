"""Cameras: where they hang, what they see behind people, and what their optics and sensor do to a picture.

Shape letters: H image height, W image width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

Range = tuple[float, float]
# Mean azimuth, in radians, of people who cross a camera's view: three quarters to full side.
SIDEWAYS = 1.0


@dataclass(frozen=True)
class CameraStyle:
    """Ranges a domain's cameras are drawn from, uniformly; the camera itself then stays the same for ever."""

    exposure: Range  # factor on linear brightness
    red_gain: Range
    blue_gain: Range
    green_gain: Range
    gamma: Range
    haze: Range  # share of grey veil
    saturation: Range
    vignette: Range
    noise: Range  # standard deviation in units of full scale
    blur: Range  # pixels at 128 x 64
    resolution: Range  # share of the nominal pixels the sensor really has
    quality: Range  # JPEG
    tilt: Range
    shade: Range  # darkness of the shaded side of things
    flicker: float  # standard deviation of the exposure from picture to picture, in log units
    side_view: float  # probability that people pass a camera sideways, not towards or away from it


DAYLIGHT = CameraStyle(
    exposure=(0.94, 1.1), red_gain=(0.97, 1.05), green_gain=(0.98, 1.02), blue_gain=(0.95, 1.05),
    gamma=(0.94, 1.06), haze=(0.0, 0.06), saturation=(0.92, 1.08), vignette=(0.0, 0.12), noise=(0.006, 0.014),
    blur=(0.0, 0.5), resolution=(0.7, 1.0), quality=(65, 92), tilt=(0.0, 0.15), shade=(0.2, 0.4),
    flicker=0.045, side_view=0.3,
)  # fmt: skip
ARTIFICIAL = CameraStyle(
    exposure=(0.6, 0.76), red_gain=(1.08, 1.19), green_gain=(1.0, 1.06), blue_gain=(0.63, 0.77),
    gamma=(0.98, 1.1), haze=(0.02, 0.08), saturation=(0.76, 0.95), vignette=(0.1, 0.25), noise=(0.01, 0.02),
    blur=(0.3, 0.7), resolution=(0.6, 0.9), quality=(50, 85), tilt=(0.1, 0.2), shade=(0.15, 0.3),
    flicker=0.045, side_view=0.3,
)  # fmt: skip


@dataclass(frozen=True)
class Camera:
    """One fixed camera. ``axis`` is the azimuth (radians) in which people walk past it."""

    index: int
    exposure: float
    gains: tuple[float, float, float]
    gamma: float
    haze: float
    saturation: float
    vignette: float
    noise: float
    blur: float
    resolution: float
    quality: int
    tilt: float
    shade: float
    light: float
    flicker: float
    axis: float


def sample_camera(rng: np.random.Generator, style: CameraStyle, index: int) -> Camera:
    """Hangs camera ``index`` (1-based) of a domain."""
    sideways = rng.random() < style.side_view
    axis = (SIDEWAYS if sideways else 0.0) + float(rng.uniform(-0.4, 0.4))
    return Camera(
        index=index,
        exposure=rng.uniform(*style.exposure),
        gains=(rng.uniform(*style.red_gain), rng.uniform(*style.green_gain), rng.uniform(*style.blue_gain)),
        gamma=rng.uniform(*style.gamma),
        haze=rng.uniform(*style.haze),
        saturation=rng.uniform(*style.saturation),
        vignette=rng.uniform(*style.vignette),
        noise=rng.uniform(*style.noise),
        blur=rng.uniform(*style.blur),
        resolution=rng.uniform(*style.resolution),
        quality=int(rng.uniform(*style.quality)),
        tilt=rng.uniform(*style.tilt),
        shade=rng.uniform(*style.shade),
        light=rng.uniform(-1.0, 1.0),
        flicker=style.flicker,
        axis=axis,
    )


def _tone_curve(camera: Camera, exposure: float) -> list[int]:
    """Look-up table of 3 x 256 entries: haze, exposure, white balance and gamma."""
    level = np.linspace(0.0, 1.0, 256)
    curves = []
    for gain in camera.gains:
        out = level * exposure * gain
        # Highlights are compressed rather than burnt out.
        out = np.where(out > 0.7, 0.7 + 0.3 * np.tanh((out - 0.7) / 0.3), out) ** camera.gamma
        out = out * (1.0 - camera.haze) + 0.7 * camera.haze
        curves.append(np.clip(np.rint(out * 255.0), 0, 255).astype(int))
    return np.concatenate(curves).tolist()


def expose(
    camera: Camera, scene: Image.Image, rng: np.random.Generator, brightness: float = 1.0
) -> Image.Image:
    """What the camera records of a perfectly rendered scene.

    Args:
        camera: the camera.
        scene: RGB image of H x W pixels.
        rng: the picture's own randomness: exposure flicker, uneven light, sensor noise.
        brightness: light at the spot where the person walks, relative to the camera's average.

    Returns:
        RGB image of H x W pixels, before JPEG compression.
    """
    width, height = scene.size
    exposure = brightness * camera.exposure * math.exp(camera.flicker * rng.standard_normal())
    image = scene.point(_tone_curve(camera, exposure))
    if camera.resolution < 1.0:
        small = (max(round(width * camera.resolution), 8), max(round(height * camera.resolution), 16))
        image = image.resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BILINEAR)
    radius = camera.blur * height / 128
    if radius > 0.2:
        image = image.filter(ImageFilter.GaussianBlur(radius))

    pixels = np.asarray(image, dtype=np.float32)
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = grey + np.float32(camera.saturation) * (pixels - grey)
    pixels *= _uneven_light(camera, height, width, rng)
    pixels += rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(255.0 * camera.noise)
    return Image.fromarray(np.clip(pixels, 0.0, 255.0).astype(np.uint8))


def _uneven_light(camera: Camera, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Brightness factor, H x W x 1: vignette and a gentle gradient of the picture's own."""
    y = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None]
    x = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None, :]
    slope_y, slope_x = rng.normal(0.0, 0.03, 2).astype(np.float32)
    field = 1.0 - np.float32(0.5 * camera.vignette) * (x * x + y * y) + slope_y * y + slope_x * x
    return field[:, :, None]
