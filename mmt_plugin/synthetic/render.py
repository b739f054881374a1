"""From a :class:`~.world.Shot` to a picture: person, box, whatever stands in the way, camera."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
from PIL import Image

from .camera import Camera, expose, sample_camera
from .figure import Figure, Pose
from .identity import Identity, resembling, sample_identity
from .pen import Pen
from .scene import backdrop, crop_backdrop, hide_behind, paint_metro, paint_plaza
from .spec import WorldSpec
from .world import DOMAINS, METRO, PLAZA, Domain, Kind, Shot, Stream, stream

PAINTERS = {PLAZA.name: paint_plaza, METRO.name: paint_metro}
# Pictures are drawn at twice their size and then reduced, which smooths the edges.
SUPERSAMPLING = 2
OCCLUSION_RATE = 0.07
PASSER_BY_RATE = 0.05
BAD_BOX_RATE = 0.04

# Figures are drawn a little stout, so that what people wear fills the box as it does in real ones.
STOUTNESS = 1.18
# Sides that people turn to where the pose dominates.
SIDES = 8


@lru_cache(maxsize=65536)
def identity_of(spec: WorldSpec, domain_name: str, purpose: Stream, number: int) -> Identity:
    domain = DOMAINS[domain_name]
    who = sample_identity(stream(spec, domain, purpose, number), domain.wardrobe)
    if spec.similar_clothes and purpose is not Stream.UNIFORM:
        who = resembling(who, identity_of(spec, domain_name, Stream.UNIFORM, 0), spec.similar_clothes)
    return who


def _posed(spec: WorldSpec, domain: Domain, shot: Shot, who: Identity, walk: _Walk) -> Identity:
    """Turn to a side, drawn for the picture, and let the look be that side's as far as it dominates."""
    rng = stream(spec, domain, Stream.POSE, shot.camera, shot.frame)
    side = int(rng.integers(SIDES))
    walk.azimuth = 2 * math.pi * side / SIDES
    return resembling(who, identity_of(spec, domain.name, Stream.UNIFORM, 1 + side), spec.pose_dominance)


@lru_cache(maxsize=64)
def camera_of(spec: WorldSpec, domain_name: str, index: int) -> Camera:
    domain = DOMAINS[domain_name]
    camera = sample_camera(stream(spec, domain, Stream.CAMERA, index), domain.cameras, index)
    if spec.camera_tint:
        tint = np.exp(spec.camera_tint * stream(spec, domain, Stream.TINT, index).standard_normal(3))
        red, green, blue = (np.asarray(camera.gains) * tint).tolist()
        camera = replace(camera, gains=(red, green, blue))
    return camera


@lru_cache(maxsize=64)
def _backdrop(spec: WorldSpec, domain_name: str, index: int) -> Image.Image:
    domain = DOMAINS[domain_name]
    return backdrop(PAINTERS[domain_name], stream(spec, domain, Stream.BACKDROP, index), _canvas_size(spec))


def _canvas_size(spec: WorldSpec) -> tuple[int, int]:
    height, width = spec.image_size
    return width * SUPERSAMPLING, height * SUPERSAMPLING


class _Walk:
    """What a person's pictures under one camera have in common: direction, place, light, gait."""

    def __init__(self, rng: np.random.Generator, camera: Camera) -> None:
        there_or_back = math.pi if rng.random() < 0.5 else 0.0
        self.azimuth = camera.axis + there_or_back + 0.16 * rng.standard_normal()
        self.place, self.drop = rng.random(), rng.random()
        self.gait, self.stride = rng.uniform(0, 2 * math.pi), rng.uniform(0.25, 1.0)
        self.brightness = math.exp(0.06 * rng.standard_normal())


def render(spec: WorldSpec, domain: Domain, shot: Shot) -> Image.Image:
    """Draws one picture: RGB, of ``spec.image_size``."""
    rng = stream(spec, domain, Stream.SHOT, shot.camera, shot.frame)
    camera = camera_of(spec, domain.name, shot.camera)
    purpose = Stream.STRANGER if shot.kind in (Kind.STRANGER, Kind.BACKGROUND) else Stream.IDENTITY
    walk = _Walk(stream(spec, domain, Stream.WALK, int(purpose), shot.person, shot.camera), camera)

    size = _canvas_size(spec)
    place = (walk.place + 0.06 * shot.step * math.sin(walk.azimuth)) % 1.0
    canvas = crop_backdrop(_backdrop(spec, domain.name, shot.camera), size, place, walk.drop)
    if shot.kind is not Kind.BACKGROUND:
        who = identity_of(spec, domain.name, purpose, shot.person)
        if spec.pose_dominance:
            who = _posed(spec, domain, shot, who, walk)
        _person(canvas, who, walk, camera, shot, rng)
    if rng.random() < PASSER_BY_RATE:
        other = identity_of(spec, domain.name, Stream.STRANGER, int(rng.integers(1 << 20)))
        _passer_by(canvas, other, camera, rng)
    if rng.random() < OCCLUSION_RATE:
        hide_behind(_pen(canvas, camera, 0, 0, size[1]).draw, size, rng)
    return expose(camera, canvas.reduce(SUPERSAMPLING), rng, walk.brightness)


def render_jpeg(spec: WorldSpec, domain: Domain, shot: Shot) -> bytes:
    """Draws one picture and compresses it as its camera does."""
    buffer = io.BytesIO()
    render(spec, domain, shot).save(buffer, "JPEG", quality=camera_of(spec, domain.name, shot.camera).quality)
    return buffer.getvalue()


def _pen(
    canvas: Image.Image, camera: Camera, centre_x: float, top: float, height: float, width: float = 1.0
) -> Pen:
    return Pen(canvas, centre_x, top, height, width, camera.tilt, camera.light, camera.shade)


def _person(
    canvas: Image.Image, who: Identity, walk: _Walk, camera: Camera, shot: Shot, rng: np.random.Generator
) -> None:
    width, height = canvas.size
    # A box fits its person, so a tall one fills it only a little more.
    share = 0.9 * (1.0 + 0.4 * (who.height - 1.0)) * (1.0 + 0.02 * rng.standard_normal())
    shift_x, shift_y = 0.025 * rng.standard_normal(), 0.01 * rng.standard_normal()
    if rng.random() < BAD_BOX_RATE:
        share *= rng.uniform(0.72, 0.85) if rng.random() < 0.4 else rng.uniform(1.12, 1.35)
        shift_x *= 2.0
        shift_y = max(0.0, 0.45 * (share - 0.9)) * (1 if rng.random() < 0.7 else -1)
    if shot.kind is Kind.JUNK:
        shift_x, shift_y = rng.choice((-0.5, 0.5)), rng.uniform(-0.6, 0.6)
    tall = share * height
    pen = _pen(
        canvas,
        camera,
        width * (0.5 + shift_x),
        (height - tall) / 2 + shift_y * height,
        tall,
        STOUTNESS / who.height,
    )
    azimuth = walk.azimuth + 0.1 * rng.standard_normal()
    Figure(who, Pose(azimuth, walk.gait + 1.3 * shot.step + rng.uniform(0, 0.8), walk.stride), pen).paint()


def _passer_by(canvas: Image.Image, who: Identity, camera: Camera, rng: np.random.Generator) -> None:
    """Someone else who is nearer to the camera and covers a part of the box."""
    width, height = canvas.size
    tall = height * rng.uniform(0.95, 1.2)
    x = width * (0.5 + rng.choice((-1, 1)) * rng.uniform(0.36, 0.62))
    azimuth = camera.axis + (math.pi if rng.random() < 0.5 else 0.0)
    pen = _pen(canvas, camera, x, height * rng.uniform(0.05, 0.25), tall)
    Figure(who, Pose(azimuth, rng.uniform(0, 2 * math.pi), rng.uniform(0.2, 1.0)), pen).paint()
