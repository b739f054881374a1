"""Videos in which the world's people walk, with their true tracks. Shapes: H frame height, W frame width.

People come in pairs, one from either side, on three lanes; where they meet, the nearer one hides the other.
Then they pass each other, or both turn back: for that a tracker needs appearance, because motion alone says
that they passed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from .camera import expose
from .figure import Figure, Pose
from .pen import Pen
from .render import PAINTERS, STOUTNESS, SUPERSAMPLING, camera_of, identity_of
from .scene import BACKDROP_WIDTH, backdrop
from .spec import WorldSpec
from .world import DOMAINS, Domain, Stream, stream

FRAME_SIZE = (144, 400)
# Share of the frame's height that is below the feet, from the furthest lane to the nearest.
LANES = (0.16, 0.09, 0.02)
# Height of an average person on the nearest lane, as a share of H, and what each lane further takes off.
TALLNESS, SHRINKING = 0.78, 0.08
# A box is a little higher than its person, and half as wide as it is high.
BOX_HEIGHT, BOX_ASPECT = 1.08, 0.5
SPEED = 10.0
# Of a box, what nearer ones may cover before a detector loses it.
MOST_HIDDEN = 0.6


@dataclass(frozen=True)
class Walker:
    """One person's way through a camera's view.

    Attributes:
        person: number of the identity.
        lane: 0 is the furthest.
        start: first frame.
        right: whether they come from the left and walk to the right.
        turns: whether they turn back in the middle.
    """

    person: int
    lane: int
    start: int
    right: bool
    turns: bool


@dataclass(frozen=True)
class Sight:
    """A person in a frame: the true box in pixels, and the share of it that nearer people cover."""

    person: int
    left: float
    top: float
    width: float
    height: float
    hidden: float


def meetings(people: Sequence[int], rng: np.random.Generator, turning: float = 0.5) -> list[Walker]:
    """Pairs of people who meet, on all lanes, one pair of a lane after the other.

    Args:
        people: an even number of identities.
        rng: of delays and of who turns back.
        turning: probability that a pair turns back.
    """
    # Lanes begin one after the other, so that people of different lanes meet at different places.
    walkers, free = [], [lane * _duration() // len(LANES) for lane in range(len(LANES))]
    for one, two in zip(people[::2], people[1::2], strict=True):
        lane = int(np.argmin(free))
        turns = bool(rng.random() < turning)
        walkers += [
            Walker(one, lane, free[lane], True, turns),
            Walker(two, lane, free[lane], False, turns),
        ]
        free[lane] += _duration() + int(rng.integers(2, 10))
    return walkers


def _duration() -> int:
    return math.ceil((FRAME_SIZE[1] + FRAME_SIZE[0] * BOX_ASPECT) / SPEED)


def sights(walkers: Sequence[Walker]) -> list[list[Sight]]:
    """By frame, everybody in it, from the furthest to the nearest."""
    frames: list[list[Sight]] = []
    for frame in range(max(walker.start for walker in walkers) + _duration()):
        seen: list[Sight] = []
        # From the nearest: who is behind knows by whom they are covered.
        for walker in sorted(walkers, key=lambda walker: (walker.lane, walker.right), reverse=True):
            if walker.start <= frame < walker.start + _duration():
                box = _box(walker, frame)
                left, right = max(box[0], 0.0), min(box[0] + box[2], FRAME_SIZE[1])
                if right - left < 0.5 * box[2]:
                    continue  # not in the picture yet, or hardly
                hidden = max((_covered(box, (s.left, s.top, s.width, s.height)) for s in seen), default=0.0)
                seen.append(Sight(walker.person, *box, hidden))
        frames.append(seen[::-1])
    return frames


def _centre(walker: Walker, frame: int) -> tuple[float, bool]:
    """x of a person's axis, and whether they walk to the right just now."""
    steps, middle = frame - walker.start, _duration() / 2
    right = walker.right
    if walker.turns and steps > middle:
        steps, right = 2 * middle - steps, not right
    along = SPEED * (steps - middle)
    return FRAME_SIZE[1] / 2 + (along if walker.right else -along), right


def _box(walker: Walker, frame: int) -> tuple[float, float, float, float]:
    height = BOX_HEIGHT * FRAME_SIZE[0] * (TALLNESS - SHRINKING * (len(LANES) - 1 - walker.lane))
    bottom = FRAME_SIZE[0] * (1 - LANES[walker.lane]) + 0.04 * height
    width = BOX_ASPECT * height
    return _centre(walker, frame)[0] - width / 2, bottom - height, width, height


def _covered(box: Sequence[float], nearer: Sequence[float]) -> float:
    width = min(box[0] + box[2], nearer[0] + nearer[2]) - max(box[0], nearer[0])
    height = min(box[1] + box[3], nearer[1] + nearer[3]) - max(box[1], nearer[1])
    return max(width, 0.0) * max(height, 0.0) / (box[2] * box[3])


@lru_cache(maxsize=16)
def _view(spec: WorldSpec, domain_name: str, camera: int) -> Image.Image:
    height, width = (SUPERSAMPLING * side for side in FRAME_SIZE)
    rng = stream(spec, DOMAINS[domain_name], Stream.BACKDROP, camera)
    size = (math.ceil(width / BACKDROP_WIDTH), math.ceil(height / 1.2) + 1)
    return backdrop(PAINTERS[domain_name], rng, size).crop((0, 0, width, height))


def draw_frames(
    spec: WorldSpec, domain: Domain, camera: int, walkers: Sequence[Walker]
) -> Iterator[Image.Image]:
    """The frames of `sights`, as a camera of the domain records them: RGB, H x W."""
    seen_by = camera_of(spec, domain.name, camera)
    by_person = {walker.person: walker for walker in walkers}
    for frame, present in enumerate(sights(walkers)):
        rng = stream(spec, domain, Stream.FOOTAGE, camera, walkers[0].person, frame)
        canvas = _view(spec, domain.name, camera).copy()
        for sight in present:
            walker, who = (
                by_person[sight.person],
                identity_of(spec, domain.name, Stream.IDENTITY, sight.person),
            )
            centre, right = _centre(walker, frame)
            tall = SUPERSAMPLING * sight.height / BOX_HEIGHT * (1.0 + 0.4 * (who.height - 1.0))
            bottom = SUPERSAMPLING * (sight.top + 0.97 * sight.height)
            pen = Pen(
                canvas,
                SUPERSAMPLING * centre,
                bottom - tall,
                tall,
                STOUTNESS / who.height,
                seen_by.tilt,
                seen_by.light,
                seen_by.shade,
            )
            # Three quarters to the camera on the way in, from behind after turning back.
            azimuth = (1.0 if right == walker.right else 2.1) * (1 if right else -1)
            Figure(who, Pose(azimuth, 0.7 * frame + walker.person, 0.8), pen).paint()
        yield expose(seen_by, canvas.reduce(SUPERSAMPLING), rng)
